/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows of the table a command line, the name of a program or a driver mean. The loops take
 * the table as an argument, so a test has one of its own.
 */
#include "cmd/controllers.h"

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/controller_run.h"

bool controller_is_named(const struct controller_row *row, const char *names)
{
	size_t n = strlen(row->name);

	if (str_is_equal(names, CONTROLLERS_AUTO))
		return !row->only_by_name;
	for (const char *name = names; *name; name += strcspn(name, ","), name += *name == ',')
		if (strcspn(name, ",") == n && strncmp(name, row->name, n) == 0)
			return true;
	return false;
}

static bool is_known(const struct controller_row *rows, size_t n_rows, const char *name, size_t n)
{
	for (size_t i = 0; i < n_rows; i++)
		if (strlen(rows[i].name) == n && strncmp(name, rows[i].name, n) == 0)
			return true;
	return false;
}

static char *list_names(const struct controller_row *rows, size_t n_rows)
{
	struct str s = STR_INIT;

	for (size_t i = 0; i < n_rows; i++)
		str_appendf(&s, "%s%s", i ? ", " : "", rows[i].name);
	return str_take(&s);
}

int controllers_check_names(const struct controller_row *rows, size_t n_rows, const char *names,
			    struct err *err)
{
	autofree char *known = list_names(rows, n_rows);

	if (str_is_empty(names))
		return err_set(err, ERR_INVALID_ARGUMENT, "--controllers is empty; there is: %s",
			       known);
	if (str_is_equal(names, CONTROLLERS_AUTO))
		return 0;
	for (const char *name = names; *name; name += strcspn(name, ","), name += *name == ',') {
		size_t n = strcspn(name, ",");

		if (!is_known(rows, n_rows, name, n))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--controllers: '%.*s' is unknown; there is: %s", (int)n,
				       name, known);
	}
	return 0;
}

static bool is_able(const struct controller_row *row, const struct controller_driver *driver)
{
	return row->is_able ? row->is_able(driver) : (driver->caps & row->caps) == row->caps;
}

int controllers_choose(const struct controller_row *rows, size_t n_rows, const char *names,
		       const struct controller_driver *driver, char **ret_names, struct err *err)
{
	bool is_auto = str_is_equal(names, CONTROLLERS_AUTO);
	autostr struct str chosen = STR_INIT;
	const char *lack = "";

	for (size_t i = 0; i < n_rows; i++) {
		if (rows[i].is_early || !controller_is_named(&rows[i], names))
			continue;
		if (is_able(&rows[i], driver) || (!is_auto && rows[i].does_without)) {
			str_appendf(&chosen, "%s%s", chosen.len ? "," : "", rows[i].name);
			continue;
		}
		lack = rows[i].without;
		if (!is_auto)
			return err_set(err, ERR_FAILED_PRECONDITION, "%s", lack);
	}
	if (chosen.len == 0 && lack[0])
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%s, and can nothing else that a controller is needed for", lack);
	*ret_names = str_take(&chosen);
	return 0;
}

char *controllers_early(const struct controller_row *rows, size_t n_rows, const char *names)
{
	struct str early = STR_INIT;

	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].is_early && controller_is_named(&rows[i], names))
			str_appendf(&early, "%s%s", early.len ? "," : "", rows[i].name);
	return str_take(&early);
}

char *controller_signer(const struct controller_options *o)
{
	return str_is_empty(o->agents_signer) ? xasprintf("%s/agent", o->driver_name)
					      : xstrdup(o->agents_signer);
}

char *controller_agents_account(const struct controller_options *o, const char *own_ns)
{
	const char *slash = strchr(o->agents_account, '/');

	return slash ? xasprintf("system:serviceaccount:%.*s:%s", (int)(slash - o->agents_account),
				 o->agents_account, slash + 1)
		     : xasprintf("system:serviceaccount:%s:%s", own_ns, o->agents_account);
}

bool controllers_need_driver(const struct controller_row *rows, size_t n_rows, const char *names)
{
	for (size_t i = 0; i < n_rows; i++)
		if (controller_is_named(&rows[i], names) && !rows[i].needs_no_driver)
			return true;
	return false;
}

const struct controller_row *controllers_find_program(const struct controller_row *rows,
						      size_t n_rows, const char *argv0)
{
	const char *program = path_last(argv0);

	for (size_t i = 0; i < n_rows; i++)
		if (str_is_equal(rows[i].program, program))
			return &rows[i];
	return NULL;
}

static const char *find_flag(const struct controller_flag *flags, const char *name, size_t n)
{
	for (; flags && flags->theirs; flags++)
		if (strlen(flags->theirs) == n && strncmp(name, flags->theirs, n) == 0)
			return flags->ours;
	return NULL;
}

static char *translate(const struct controller_row *row, const char *word)
{
	const char *name = word + strspn(word, "-");
	const char *value = name + strcspn(name, "=");
	const char *ours = NULL;

	if (name > word)
		ours = find_flag(row->flags, name, (size_t)(value - name));
	return ours ? xasprintf("--%s%s", ours, value) : xstrdup(word);
}

char **controller_args(const struct controller_row *row, const char *const *argv)
{
	size_t n = 0;
	char **args;

	while (argv[n])
		n++;
	args = xcalloc(n + 2, sizeof(*args));
	args[0] = xstrdup(argv[0]);
	args[1] = xasprintf("--controllers=%s", row->name);
	for (size_t i = 1; i < n; i++)
		args[i + 1] = translate(row, argv[i]);
	return args;
}

void controller_args_free(char **args)
{
	for (size_t i = 0; args[i]; i++)
		free(args[i]);
	free(args);
}

/* What a Lease's name may not have becomes a dash. */
static void put_dashes(char *name)
{
	for (char *p = name; *p; p++) {
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9')))
			*p = '-';
	}
}

void controller_own_lease_name(const char *driver, char ret_name[static CONTROLLER_LEASE_MAX])
{
	(void)snprintf(ret_name, CONTROLLER_LEASE_MAX, "cleat-%s", driver);
	put_dashes(ret_name);
}

void controller_early_lease_name(const char *driver, char ret_name[static CONTROLLER_LEASE_MAX])
{
	(void)snprintf(ret_name, CONTROLLER_LEASE_MAX, "cleat-%s-early", driver);
	put_dashes(ret_name);
}

void controller_lease_name(const struct controller_row *row, const char *driver,
			   char ret_name[static CONTROLLER_LEASE_MAX])
{
	size_t n;

	/* One is left for the X. */
	(void)snprintf(ret_name, CONTROLLER_LEASE_MAX - 1, "%s%s", row->lease,
		       row->needs_no_driver ? "" : driver);
	n = strlen(ret_name);
	put_dashes(ret_name);
	if (n > 0 && ret_name[n - 1] == '-')
		memcpy(ret_name + n, "X", 2);
}

unsigned controllers_queues(const struct controller_row *rows, size_t n_rows, const char *names)
{
	unsigned n = 0;

	for (size_t i = 0; i < n_rows; i++)
		n += controller_is_named(&rows[i], names) ? rows[i].n_queues : 0;
	return n;
}
