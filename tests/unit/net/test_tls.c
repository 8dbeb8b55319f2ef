/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates, connections and listeners together: a server and a client on one loop, over
 * loopback with a port that the system chose, with certificates made for the test. Each side says
 * "hello" when it is open; a case is over when both heard it, or when the client was told why not.
 */
#include "check.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/work.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/tls.h"

#define PATH_SIZE 96

/* ---- certificates ---- */

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext = NULL;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
}

/* Signed by issuer, by itself if NULL; good from a day ago for that many seconds from now. names:
 * alternative ones, NULL for none. */
static struct identity make_named(const char *cn, const char *names, const struct identity *issuer,
				  long seconds)
{
	static long serial;
	struct identity id = { EVP_EC_gen("P-256"), X509_new() };
	X509_NAME *name = X509_get_subject_name(id.cert);
	X509 *by = issuer ? issuer->cert : id.cert;

	X509_set_version(id.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(id.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(id.cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(id.cert), seconds);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(id.cert, X509_get_subject_name(by));
	X509_set_pubkey(id.cert, id.key);
	if (names)
		add_extension(id.cert, by, NID_subject_alt_name, names);
	if (!issuer)
		add_extension(id.cert, by, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(id.cert, issuer ? issuer->key : id.key, EVP_sha256()) > 0);
	return id;
}

static struct identity make_identity(const char *cn, const struct identity *issuer, long seconds)
{
	return make_named(cn, issuer ? "DNS:node-1.cleat,IP:127.0.0.1" : NULL, issuer, seconds);
}

static void free_identity(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
}

/* Written aside and renamed, as those who rotate certificates do. */
static void write_pem(const char *path, const struct identity *id, bool is_key)
{
	char aside[PATH_SIZE + 8] = "";
	BIO *bio = NULL;

	snprintf(aside, sizeof(aside), "%s.new", path);
	bio = BIO_new_file(aside, "w");
	assert_non_null(bio);
	if (is_key)
		PEM_write_bio_PrivateKey(bio, id->key, NULL, NULL, 0, NULL, NULL);
	else
		PEM_write_bio_X509(bio, id->cert);
	BIO_free(bio);
	assert_int_equal(rename(aside, path), 0);
}

/* ---- fixture ---- */

struct side {
	struct conn *conn;
	bool is_open, has_heard, has_ended;
	size_t n_got;
	char peer[CONN_PEER_MAX];
	struct err why;
};

struct fixture {
	char dir[32];
	char ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE]; /* the server's */
	char client_cert[PATH_SIZE], client_key[PATH_SIZE];
	struct identity root, server_id, client_id, stranger;
	struct ev_loop *loop;
	struct listener *listener;
	struct side server, client;
	const char *server_name; /* of the next connection; NULL: the context's */
	size_t bulk;             /* says that many bytes instead of "hello" */
	struct err err;
};

static void path_in(const struct fixture *f, const char *name, char ret_path[PATH_SIZE])
{
	snprintf(ret_path, PATH_SIZE, "%s/%s", f->dir, name);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	memcpy(f->dir, "/tmp/cleat-tls-XXXXXX", 22);
	assert_non_null(mkdtemp(f->dir));
	path_in(f, "ca.crt", f->ca);
	path_in(f, "tls.crt", f->cert);
	path_in(f, "tls.key", f->key);
	path_in(f, "client.crt", f->client_cert);
	path_in(f, "client.key", f->client_key);
	f->root = make_identity("cleat CA", NULL, 86400);
	f->stranger = make_identity("cleat CA", NULL, 86400);
	f->server_id = make_identity("cleat-node", &f->root, 86400);
	f->client_id = make_identity("cleat-controller", &f->root, 86400);
	write_pem(f->ca, &f->root, false);
	write_pem(f->cert, &f->server_id, false);
	write_pem(f->key, &f->server_id, true);
	write_pem(f->client_cert, &f->client_id, false);
	write_pem(f->client_key, &f->client_id, true);
	assert_int_equal(ev_loop_new(&f->loop), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	const char *files[] = { f->ca, f->cert, f->key, f->client_cert, f->client_key };

	clock_fake_set(-1);
	ev_loop_free(f->loop);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlink(files[i]);
	rmdir(f->dir);
	free_identity(&f->root);
	free_identity(&f->stranger);
	free_identity(&f->server_id);
	free_identity(&f->client_id);
	free(f);
	return 0;
}

static struct tls_options server_options(const struct fixture *f)
{
	return (struct tls_options){
		.is_server = true, .cert_file = f->cert, .key_file = f->key, .ca_file = f->ca
	};
}

static struct tls_options client_options(const struct fixture *f)
{
	return (struct tls_options){ .cert_file = f->client_cert,
				     .key_file = f->client_key,
				     .ca_file = f->ca };
}

/* ---- a conversation ---- */

static struct fixture *current;

static void end_if_done(void)
{
	struct fixture *f = current;

	if (f->client.has_ended || (f->server.has_heard && f->client.has_heard))
		ev_loop_stop(f->loop);
}

static void on_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct side *s = arg;

	if (current->bulk) {
		for (size_t i = 0; i < n; i++)
			ASSERT_EQ(bytes[i], (uint8_t)((s->n_got + i) % 251));
		s->n_got += n;
		s->has_heard = s->n_got == current->bulk;
		end_if_done();
		return;
	}
	assert_int_equal(n, 5);
	assert_memory_equal(bytes, "hello", 5);
	s->has_heard = true;
	end_if_done();
}

static void on_close(void *arg, const struct err *why)
{
	struct side *s = arg;

	s->conn = NULL;
	s->has_ended = true;
	s->why = *why;
	end_if_done();
}

static void on_open(void *arg)
{
	struct side *s = arg;

	autofree uint8_t *bytes = NULL;

	s->is_open = true;
	snprintf(s->peer, sizeof(s->peer), "%s", conn_peer(s->conn));
	if (!current->bulk) {
		conn_write(s->conn, "hello", 5);
		return;
	}
	bytes = xmalloc(current->bulk);
	for (size_t i = 0; i < current->bulk; i++)
		bytes[i] = (uint8_t)(i % 251);
	conn_write(s->conn, bytes, current->bulk);
}

static const struct conn_ops side_ops = {
	.on_open = on_open,
	.on_data = on_data,
	.on_close = on_close,
};

static void on_accept(void *arg, struct conn *c)
{
	struct fixture *f = arg;

	f->server.conn = c;
	conn_set_ops(c, &side_ops, &f->server);
	on_open(&f->server);
}

static void listen_tls(struct fixture *f, struct tls *tls)
{
	struct net_addr addr = { .kind = NET_ADDR_TCP, .host = "127.0.0.1" };

	ASSERT_OK(listener_open(f->loop, &addr, 0, tls, on_accept, f, &f->listener, &f->err),
		  &f->err);
}

/* One connection from beginning to end. */
static void converse(struct fixture *f, struct tls *tls)
{
	struct net_addr addr = { .kind = NET_ADDR_TCP, .host = "127.0.0.1" };

	addr.port = listener_port(f->listener);
	f->server = f->client = (struct side){ 0 };
	current = f;
	ASSERT_OK(conn_connect(f->loop, &addr, tls, f->server_name, 10 * NS_PER_S, &side_ops,
			       &f->client, &f->client.conn, &f->err),
		  &f->err);
	ev_loop_run(f->loop);
	if (f->client.conn)
		conn_abort(f->client.conn);
	if (f->server.conn)
		conn_abort(f->server.conn);
}

static struct tls *make_tls(struct fixture *f, const struct tls_options *opts)
{
	struct tls *tls = NULL;

	ASSERT_OK(tls_new(opts, &tls, &f->err), &f->err);
	return tls;
}

/* Both rule sets, one connection. */
static void converse_once(struct fixture *f, const struct tls_options *server_opts,
			  const struct tls_options *client_opts)
{
	struct tls *server = make_tls(f, server_opts), *client = make_tls(f, client_opts);

	listen_tls(f, server);
	converse(f, client);
	listener_close(f->listener);
	tls_unref(server);
	tls_unref(client);
}

static void expect_heard(const struct fixture *f)
{
	if (!f->client.has_heard || !f->server.has_heard)
		fail_msg("not connected: %s", f->client.why.msg);
}

/* Neither side got bytes of the other, and the client knows the reason. */
static void expect_refused(const struct fixture *f, const char *reason)
{
	assert_false(f->client.has_heard || f->server.has_heard);
	assert_true(f->client.has_ended);
	assert_int_equal(f->client.why.code, ERR_UNAVAILABLE);
	if (!strstr(f->client.why.msg, reason))
		fail_msg("no '%s' in: %s", reason, f->client.why.msg);
}

/* ---- who may talk to whom ---- */

TEST(both_sides_verify_each_other_and_the_server_knows_the_name)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);

	converse_once(f, &server, &client);
	expect_heard(f);
	assert_non_null(strstr(f->server.peer, "127.0.0.1:"));
	assert_non_null(
		strstr(f->server.peer, " DNS:node-1.cleat IP:127.0.0.1 CN=cleat-controller"));
	assert_non_null(strstr(f->client.peer, " CN=cleat-node"));
}

static void use_client(struct fixture *f, const char *cn, const char *names)
{
	struct identity id = make_named(cn, names, &f->root, 86400);

	write_pem(f->client_cert, &id, false);
	write_pem(f->client_key, &id, true);
	free_identity(&id);
}

TEST(a_peers_names_cannot_be_mistaken_for_others)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);
	autostr struct str many = STR_INIT;

	use_client(f, "x", "DNS:a DNS:admin");
	converse_once(f, &server, &client);
	expect_heard(f);
	assert_non_null(strstr(f->server.peer, " DNS:a?DNS:admin CN=x"));
	str_append(&many, "URI:spiffe://cluster/ns/a/sa/b,IP:::1");
	use_client(f, "x", many.buf);
	converse_once(f, &server, &client);
	assert_non_null(strstr(f->server.peer, " URI:spiffe://cluster/ns/a/sa/b IP:::1 CN=x"));
	for (int i = 0; i < 10; i++)
		str_append(&many, ",DNS:a-name-of-thirty-letters.cleat");
	use_client(f, "x", many.buf);
	converse_once(f, &server, &client);
	ASSERT_STR(strrchr(f->server.peer, ' '), " DNS:a-name-of-thirty-letters.cleat");
}

TEST(certificates_from_memory_do_as_well)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = { 0 };
	autofree char *cert = NULL, *key = NULL, *ca = NULL;
	size_t n = 0;

	assert_int_equal(fd_read_file(AT_FDCWD, f->client_cert, 65536, &cert, &n), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, f->client_key, 65536, &key, &n), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, f->ca, 65536, &ca, &n), 0);
	client = (struct tls_options){ .cert_data = cert, .key_data = key, .ca_data = ca };
	converse_once(f, &server, &client);
	expect_heard(f);
}

TEST(a_client_refuses_a_server_of_another_ca)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);
	struct tls *server_tls = make_tls(f, &server), *client_tls = NULL;

	write_pem(f->ca, &f->stranger, false);
	client_tls = make_tls(f, &client);
	listen_tls(f, server_tls);
	converse(f, client_tls);
	listener_close(f->listener);
	tls_unref(server_tls);
	tls_unref(client_tls);
	expect_refused(f, "peer's certificate");
}

TEST(a_server_refuses_a_client_of_another_ca)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);
	struct identity other = make_identity("cleat-controller", &f->stranger, 86400);

	write_pem(f->client_cert, &other, false);
	write_pem(f->client_key, &other, true);
	free_identity(&other);
	converse_once(f, &server, &client);
	assert_false(f->server.is_open);
	expect_refused(f, "TLS: ");
}

TEST(a_server_refuses_a_client_without_a_certificate)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = { .ca_file = f->ca };

	converse_once(f, &server, &client);
	assert_false(f->server.is_open);
	expect_refused(f, "TLS: ");
}

TEST(a_server_without_ca_asks_for_no_certificate)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = { .ca_file = f->ca };

	server.ca_file = NULL;
	converse_once(f, &server, &client);
	expect_heard(f);
	assert_null(strstr(f->server.peer, "CN="));
}

TEST(a_server_must_have_the_name_that_is_asked_for)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);

	client.server_name = "node-1.cleat";
	converse_once(f, &server, &client);
	expect_heard(f);
	client.server_name = "node-2.cleat";
	converse_once(f, &server, &client);
	expect_refused(f, "peer's certificate");
	client.server_name = "127.0.0.2";
	converse_once(f, &server, &client);
	expect_refused(f, "peer's certificate");
}

TEST(a_common_name_is_no_name_of_a_server)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);
	struct identity old = make_named("node-1.cleat", NULL, &f->root, 86400);

	write_pem(f->cert, &old, false);
	write_pem(f->key, &old, true);
	free_identity(&old);
	client.server_name = "node-1.cleat";
	converse_once(f, &server, &client);
	expect_refused(f, "peer's certificate");
}

/* OpenSSL takes an empty name for "check none", and of one that is too long says so only in its
 * result. */
TEST(a_name_that_cannot_be_checked_is_refused)
{
	struct fixture *f = *state;
	struct tls_options client = client_options(f);
	struct net_addr addr = { .kind = NET_ADDR_TCP, .host = "127.0.0.1", .port = 1 };
	char longest[300] = "";

	memset(longest, 'a', sizeof(longest) - 1);
	for (int i = 0; i < 2; i++) {
		struct conn *conn = NULL;
		struct tls *tls = NULL;

		client.server_name = i == 0 ? "" : longest;
		tls = make_tls(f, &client);
		ASSERT_ERR(conn_connect(f->loop, &addr, tls, NULL, NS_PER_S, &side_ops, &f->client,
					&conn, &f->err),
			   &f->err, ERR_INVALID_ARGUMENT, "no name or address");
		tls_unref(tls);
	}
}

/* Channels to many servers share one context. */
TEST(a_connection_may_ask_for_a_name_of_its_own)
{
	struct fixture *f = *state;
	struct tls_options server_opts = server_options(f), client_opts = client_options(f);
	struct tls *server = make_tls(f, &server_opts), *client = NULL;

	client_opts.server_name = "node-2.cleat";
	client = make_tls(f, &client_opts);
	listen_tls(f, server);
	f->server_name = "node-1.cleat";
	converse(f, client);
	expect_heard(f);
	f->server_name = NULL;
	converse(f, client);
	expect_refused(f, "peer's certificate");
	f->server_name = "node-3.cleat";
	converse(f, client);
	expect_refused(f, "peer's certificate");
	listener_close(f->listener);
	tls_unref(server);
	tls_unref(client);
}

/* Records are cut by reads wherever these end, and many are in one read. */
/* The server's certificate names these. */
static void serve_as(struct fixture *f, const char *names)
{
	free_identity(&f->server_id);
	f->server_id = make_named("cleat-node", names, &f->root, 86400);
	write_pem(f->cert, &f->server_id, false);
	write_pem(f->key, &f->server_id, true);
}

TEST(a_connection_may_ask_for_a_uri)
{
	static const struct {
		const char *names, *shared; /* shared: the context's server_name */
		bool is_good;
	} cases[] = {
		{ "URI:cleat://node/n1", NULL, true },
		{ "URI:cleat://node/n2", NULL, false },
		{ "URI:cleat://node/n", NULL, false },
		{ "URI:cleat://node/n11", NULL, false },
		{ "URI:cleat://node/N1", NULL, false },
		{ "URI:cleat://node/n2,URI:cleat://node/n1", NULL, true },
		{ "DNS:n1", NULL, false },
		{ "DNS:cleat.internal", NULL, false },
		{ NULL, NULL, false },
		/* one that all share does as well where that is said, but none of another node */
		{ "DNS:cleat.internal", "cleat.internal", true },
		{ "DNS:other.internal", "cleat.internal", false },
		{ "URI:cleat://node/n1", "cleat.internal", true },
		{ "URI:cleat://node/n2,DNS:cleat.internal", "cleat.internal", false },
		{ NULL, "cleat.internal", false },
	};
	struct fixture *f = *state;

	f->server_name = "cleat://node/n1";
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct tls_options server = server_options(f), client = client_options(f);

		serve_as(f, cases[i].names);
		client.server_name = cases[i].shared;
		converse_once(f, &server, &client);
		if (cases[i].is_good)
			expect_heard(f);
		else
			expect_refused(f, "is not for cleat://node/n1, but for:");
	}
}

TEST(a_context_may_ask_for_a_uri)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);

	serve_as(f, "URI:cleat://node/n1");
	client.server_name = "cleat://node/n1";
	converse_once(f, &server, &client);
	expect_heard(f);
	client.server_name = "cleat://node/n2";
	converse_once(f, &server, &client);
	expect_refused(f, "not for cleat://node/n2, but for: URI:cleat://node/n1");
	f->server_id = (free_identity(&f->server_id),
			make_named("x", "URI:cleat://node/n2", &f->stranger, 86400));
	write_pem(f->cert, &f->server_id, false);
	write_pem(f->key, &f->server_id, true);
	converse_once(f, &server, &client); /* the right name, by somebody else */
	expect_refused(f, "certificate");
}

static char *pem_of(const char *path)
{
	char buf[8192];
	FILE *file = fopen(path, "r");
	size_t n;

	assert_non_null(file);
	n = fread(buf, 1, sizeof(buf), file);
	(void)fclose(file);
	return xstrndup(buf, n);
}

TEST(a_server_may_get_its_certificate_later_and_another_while_it_serves)
{
	struct fixture *f = *state;
	struct tls_options client_opts = client_options(f);
	struct tls_options server_opts = { .is_server = true,
					   .cert_later = true,
					   .ca_file = f->ca };
	struct tls *server = make_tls(f, &server_opts), *client = make_tls(f, &client_opts);
	autofree char *cert = pem_of(f->cert), *key = pem_of(f->key),
		      *other = pem_of(f->client_key);
	autofree char *next_cert = NULL, *next_key = NULL;

	listen_tls(f, server);
	converse(f, client);
	expect_refused(f, "");
	ASSERT_ERR(tls_set_cert(server, cert, other, &f->err), &f->err, ERR_FAILED_PRECONDITION,
		   "does not match");
	converse(f, client);
	expect_refused(f, "");
	ASSERT_OK(tls_set_cert(server, cert, key, &f->err), &f->err);
	converse(f, client);
	expect_heard(f);
	serve_as(f, "URI:cleat://node/n1");
	next_cert = pem_of(f->cert);
	next_key = pem_of(f->key);
	ASSERT_OK(tls_set_cert(server, next_cert, next_key, &f->err), &f->err);
	f->server_name = "cleat://node/n1";
	converse(f, client);
	expect_heard(f);
	ASSERT_ERR(tls_set_cert(server, cert, next_key, &f->err), &f->err, ERR_FAILED_PRECONDITION,
		   "does not match");
	converse(f, client); /* nothing changed */
	expect_heard(f);
	listener_close(f->listener);
	tls_unref(server);
	tls_unref(client);
}

static void keep_line(void *arg, const char *line)
{
	str_append(arg, line);
}

static double refused_by_name(void)
{
	static const char head[] = "cleat_tls_refused_total{side=\"client\",reason=\"name\"} ";
	autostr struct str page = STR_INIT;
	const char *at;

	metric_render(&page);
	at = strstr(str_get(&page), head);
	return at ? strtod(at + strlen(head), NULL) : 0;
}

TEST(failed_handshakes_are_counted_by_reason_and_told_once_a_minute)
{
	struct fixture *f = *state;
	struct tls_options server_opts = server_options(f), client_opts = client_options(f);
	struct tls *server = make_tls(f, &server_opts), *client = make_tls(f, &client_opts);
	autostr struct str log = STR_INIT;
	double before = refused_by_name();
	size_t n = 0;

	log_set_sink(keep_line, &log);
	listen_tls(f, server);
	f->server_name = "cleat://node/n1";
	for (size_t i = 0; i < 3; i++)
		converse(f, client);
	listener_close(f->listener);
	tls_unref(server);
	tls_unref(client);
	log_set_sink(NULL, NULL);
	for (const char *at = str_get(&log); (at = strstr(at, "TLS handshake failed")); at++)
		n += strstr(at, "not for cleat://node/n1") != NULL;
	ASSERT_EQ(n, 1);
	ASSERT_TRUE(refused_by_name() == before + 3);
}

TEST(many_records_pass_both_ways_at_once)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);

	f->bulk = 3 << 20;
	converse_once(f, &server, &client);
	expect_heard(f);
}

TEST(skip_verify_takes_any_server)
{
	struct fixture *f = *state;
	struct tls_options server = server_options(f), client = client_options(f);

	client.ca_file = NULL;
	client.server_name = "node-2.cleat";
	client.skip_verify = true;
	converse_once(f, &server, &client);
	expect_heard(f);
}

/* ---- what is refused at load ---- */

TEST(what_cannot_be_used_is_refused_with_its_name)
{
	struct fixture *f = *state;
	struct tls_options opts = server_options(f);
	struct tls *tls = NULL;

	opts.cert_file = "/nonexistent/tls.crt";
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION,
		   "'/nonexistent/tls.crt': No such file");
	opts = server_options(f);
	opts.key_file = f->client_key;
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION,
		   "does not match");
	opts.key_file = f->cert;
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION, f->cert);
	opts = server_options(f);
	opts.ca_file = f->key;
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION,
		   "no CA certificate");
	opts = (struct tls_options){ .is_server = true, .ca_file = f->ca };
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_INVALID_ARGUMENT, "certificate");
	opts = (struct tls_options){ .cert_file = f->cert };
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_INVALID_ARGUMENT, "together");
}

/* OpenSSL's own way would be to ask on the terminal. */
TEST(a_key_behind_a_passphrase_is_refused)
{
	struct fixture *f = *state;
	struct tls_options opts = server_options(f);
	BIO *bio = BIO_new_file(f->key, "w");
	struct tls *tls = NULL;

	assert_non_null(bio);
	assert_true(PEM_write_bio_PKCS8PrivateKey(bio, f->server_id.key, EVP_aes_128_cbc(),
						  "secret", 6, NULL, NULL));
	BIO_free(bio);
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION, f->key);
}

TEST(an_expired_certificate_is_refused_at_load)
{
	struct fixture *f = *state;
	struct tls_options opts = server_options(f);
	struct identity old = make_identity("cleat-node", &f->root, -3600);
	struct tls *tls = NULL;

	write_pem(f->cert, &old, false);
	write_pem(f->key, &old, true);
	free_identity(&old);
	ASSERT_ERR(tls_new(&opts, &tls, &f->err), &f->err, ERR_FAILED_PRECONDITION, "expired");
	assert_non_null(strstr(f->err.msg, f->cert));
}

/* ---- certificates change under a running server ---- */

static unsigned n_warnings, n_reloads;

static void count_line(void *arg, const char *line)
{
	(void)arg;
	n_warnings += strstr(line, "not usable") != NULL;
	n_reloads += strstr(line, "reloaded") != NULL;
}

TEST(replaced_files_serve_the_next_connection_and_broken_ones_do_not)
{
	struct fixture *f = *state;
	struct tls_options server_opts = server_options(f), client_opts = client_options(f);
	struct tls *server = NULL, *client = NULL;
	struct identity next = make_identity("cleat-node-2", &f->root, 86400);

	n_warnings = n_reloads = 0;
	log_set_sink(count_line, NULL);
	clock_fake_set(1000 * NS_PER_S);
	server = make_tls(f, &server_opts);
	client = make_tls(f, &client_opts);
	listen_tls(f, server);
	converse(f, client);
	assert_non_null(strstr(f->client.peer, "CN=cleat-node"));

	/* The new certificate without its key: the old pair goes on serving, said once. */
	write_pem(f->cert, &next, false);
	for (int i = 0; i < 2; i++) {
		clock_fake_advance(2 * NS_PER_S);
		converse(f, client);
		expect_heard(f);
		assert_null(strstr(f->client.peer, "CN=cleat-node-2"));
	}
	assert_int_equal(n_warnings, 1);

	write_pem(f->key, &next, true);
	clock_fake_advance(2 * NS_PER_S);
	converse(f, client);
	expect_heard(f);
	assert_non_null(strstr(f->client.peer, "CN=cleat-node-2"));
	assert_int_equal(n_reloads, 1);

	log_set_sink(NULL, NULL);
	listener_close(f->listener);
	tls_unref(server);
	tls_unref(client);
	free_identity(&next);
}

/* ---- peers that are no gRPC clients ---- */

/* Speaks with the server by blocking calls of OpenSSL; returns whether the handshake succeeded. */
struct plain_client {
	struct fixture *f;
	const unsigned char *alpn;
	unsigned alpn_len;
	bool is_tls, has_connected;
};

static void talk_plain(void *arg)
{
	struct plain_client *p = arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char to[32] = "";
	BIO *bio = NULL;
	SSL *ssl = NULL;
	char c = 0;

	snprintf(to, sizeof(to), "127.0.0.1:%u", listener_port(p->f->listener));
	bio = BIO_new_connect(to);
	if (p->is_tls) {
		ssl = SSL_new(ctx);
		SSL_use_certificate(ssl, p->f->client_id.cert);
		SSL_use_PrivateKey(ssl, p->f->client_id.key);
		if (p->alpn)
			SSL_set_alpn_protos(ssl, p->alpn, p->alpn_len);
		BIO_do_connect(bio);
		SSL_set_bio(ssl, bio, bio);
		/* With TLS 1.3 a server's refusal arrives after the client's side is done. */
		p->has_connected = SSL_connect(ssl) == 1 && SSL_read(ssl, &c, 1) == 1;
		SSL_free(ssl);
	} else {
		BIO_do_connect(bio);
		BIO_write(bio, "GET / HTTP/1.1\r\n\r\n", 18);
		p->has_connected = BIO_read(bio, &c, 1) == 1 && c == 'h';
		BIO_free(bio);
	}
	SSL_CTX_free(ctx);
	ev_loop_stop(p->f->loop);
}

static bool server_takes(struct fixture *f, struct plain_client *p)
{
	struct tls_options opts = server_options(f);
	struct tls *server = make_tls(f, &opts);
	struct work_thread *thread = NULL;

	f->server = f->client = (struct side){ 0 };
	p->f = current = f;
	listen_tls(f, server);
	assert_int_equal(work_thread_start("client", talk_plain, p, &thread), 0);
	ev_loop_run(f->loop);
	work_thread_join(thread);
	if (f->server.conn)
		conn_abort(f->server.conn);
	listener_close(f->listener);
	tls_unref(server);
	assert_int_equal(f->server.is_open, p->has_connected);
	return p->has_connected;
}

TEST(only_alpn_h2_is_taken)
{
	struct fixture *f = *state;
	struct plain_client h2 = { .is_tls = true, .alpn = (const void *)"\x02h2", .alpn_len = 3 };
	struct plain_client http1 = { .is_tls = true,
				      .alpn = (const void *)"\x08http/1.1",
				      .alpn_len = 9 };
	struct plain_client none = { .is_tls = true };
	struct plain_client no_tls = { .is_tls = false };

	assert_true(server_takes(f, &h2));
	assert_false(server_takes(f, &http1));
	assert_false(server_takes(f, &none));
	assert_false(server_takes(f, &no_tls));
}

#define TLS_UNIT(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(TLS_UNIT(both_sides_verify_each_other_and_the_server_knows_the_name),
	  TLS_UNIT(a_peers_names_cannot_be_mistaken_for_others),
	  TLS_UNIT(certificates_from_memory_do_as_well),
	  TLS_UNIT(a_client_refuses_a_server_of_another_ca),
	  TLS_UNIT(a_server_refuses_a_client_of_another_ca),
	  TLS_UNIT(a_server_refuses_a_client_without_a_certificate),
	  TLS_UNIT(a_server_without_ca_asks_for_no_certificate),
	  TLS_UNIT(a_server_must_have_the_name_that_is_asked_for),
	  TLS_UNIT(a_common_name_is_no_name_of_a_server),
	  TLS_UNIT(a_name_that_cannot_be_checked_is_refused),
	  TLS_UNIT(a_connection_may_ask_for_a_name_of_its_own),
	  TLS_UNIT(a_connection_may_ask_for_a_uri), TLS_UNIT(a_context_may_ask_for_a_uri),
	  TLS_UNIT(a_server_may_get_its_certificate_later_and_another_while_it_serves),
	  TLS_UNIT(failed_handshakes_are_counted_by_reason_and_told_once_a_minute),
	  TLS_UNIT(many_records_pass_both_ways_at_once), TLS_UNIT(skip_verify_takes_any_server),
	  TLS_UNIT(what_cannot_be_used_is_refused_with_its_name),
	  TLS_UNIT(a_key_behind_a_passphrase_is_refused),
	  TLS_UNIT(an_expired_certificate_is_refused_at_load),
	  TLS_UNIT(replaced_files_serve_the_next_connection_and_broken_ones_do_not),
	  TLS_UNIT(only_alpn_h2_is_taken))
