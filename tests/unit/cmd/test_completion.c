/* SPDX-License-Identifier: Apache-2.0 */
/* The scripts know every command, verb and option. */
#include "check.h"

#include "base/mem.h"
#include "cmd/completion.h"
#include "cmd/ctl.h"
#include "cmd/sidecar.h"

static const struct cmd *const programs[] = {
	&cmd_node,      &cmd_controller,        &cmd_driver,     &cmd_ctl,    &cmd_livenessprobe,
	&cmd_registrar, &cmd_snapshot_metadata, &cmd_completion, &cmd_version
};

static void assert_in(const struct str *script, const char *text)
{
	if (!strstr(str_get(script), text))
		fail_msg("no '%s' in the script", text);
}

TEST(every_command_verb_and_option_is_in_every_script)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };

	for (size_t k = 0; k < ARRAY_LEN(shells); k++) {
		autostr struct str script = STR_INIT;
		bool is_fish = strcmp(shells[k], "fish") == 0;

		completion_write(shells[k], &script);
		for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
			assert_in(&script, programs[i]->name);
			for (const struct opt *o = programs[i]->options; o->type != OPT_END; o++) {
				autofree char *word =
					is_fish ? xasprintf("-%c %s", o->name[1] ? 'l' : 's',
							    o->name)
						: xstrdup(o->name);

				if (o->type != OPT_GROUP)
					assert_in(&script, word);
			}
		}
		for (size_t i = 0; i < CTL_N_GROUPS; i++) {
			assert_in(&script, ctl_groups[i].name);
			for (const struct ctl_verb *v = ctl_groups[i].verbs; v->name; v++)
				assert_in(&script, v->name);
		}
	}
}

RUN_TESTS(UNIT(every_command_verb_and_option_is_in_every_script))
