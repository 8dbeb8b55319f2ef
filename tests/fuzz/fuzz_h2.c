/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes to an HTTP/2 session, as server and as client, while its user does any of the things
 * that users do, in any callback. No socket, no time: the input is both.
 *
 * The first byte chooses the side, the second seeds what the user does in the callbacks to come;
 * then come pieces: two bytes of length (and what happens between pieces), and bytes. A client has
 * two requests under way, one of them with a body. A session must end with every stream's end told
 * once, and no callback inside another.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct h2 *h2;
	uint32_t dice;
	unsigned n_opened, depth;
	size_t n_streams;
	int64_t now_ns;
	bool is_server, is_closed;
	struct str out;
} t;

static unsigned roll(unsigned sides)
{
	t.dice = t.dice * 1664525 + 1013904223;
	return (t.dice >> 16) % sides;
}

static void request(bool end)
{
	static const struct h2_header head[] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", "http", 0, false },
		{ ":path", "/", 0, false },
		{ ":authority", "localhost", 0, false },
	};
	struct err err;
	struct h2_stream *s = NULL;

	if (t.n_opened >= 8)
		return;
	s = h2_request(t.h2, head, ARRAY_LEN(head), end, NULL, &err);
	if (!s)
		return;
	t.n_opened++;
	t.n_streams++;
	if (!end)
		(void)h2_send(s, "hello", 5, true);
}

static void respond(struct h2_stream *s)
{
	static const struct h2_header head[] = { { ":status", "200", 0, false } };
	static const struct h2_header trailers[] = { { "grpc-status", "0", 0, false } };
	static const uint8_t body[70000];

	if (h2_respond(s, head, 1, false) < 0)
		return;
	(void)h2_send(s, body, roll(sizeof(body)), false);
	h2_send_trailers(s, trailers, 1);
}

static void act(struct h2_stream *s)
{
	switch (roll(12)) {
	case 0:
		if (s)
			h2_reset(s, H2_CANCEL);
		break;
	case 1:
		if (roll(8) == 0)
			h2_close(t.h2, H2_NO_ERROR);
		break;
	case 2:
		(void)h2_pull(t.h2, &t.out, roll(40000) + 1);
		break;
	case 3:
		if (!t.is_server)
			request(roll(2));
		else if (roll(8) == 0)
			h2_drain(t.h2, t.now_ns);
		break;
	case 4:
		if (s)
			(void)h2_send(s, "x", 1, roll(2));
		break;
	default:
		break;
	}
}

static void enter(void)
{
	assert(t.depth == 0 && !t.is_closed);
	t.depth++;
}

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	(void)arg;
	enter();
	if (t.is_server && !is_trailers)
		t.n_streams++;
	for (size_t i = 0; i < n; i++)
		if (strlen(h[i].name) == 0 || strlen(h[i].value) > h[i].value_len)
			abort();
	act(s);
	if (t.is_server && end && roll(4))
		respond(s);
	t.depth--;
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	volatile uint8_t sum = 0;

	(void)arg;
	enter();
	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + bytes[i]);
	if (roll(4))
		h2_consume(s, n);
	act(s);
	t.depth--;
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)arg;
	enter();
	act(s);
	if (t.is_server)
		respond(s);
	t.depth--;
}

static void on_stream_drained(void *arg, struct h2_stream *s)
{
	(void)arg;
	enter();
	act(s);
	t.depth--;
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	(void)arg;
	(void)error;
	enter();
	assert(t.n_streams > 0);
	t.n_streams--;
	act(s);
	t.depth--;
}

static void on_goaway(void *arg, uint32_t error)
{
	(void)arg;
	(void)error;
	enter();
	act(NULL);
	t.depth--;
}

static void on_close(void *arg, const struct err *why)
{
	(void)arg;
	enter();
	assert(why->code != ERR_OK);
	t.is_closed = true;
	h2_free(t.h2);
	t.h2 = NULL;
	t.depth--;
}

static const struct h2_ops ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_drained = on_stream_drained,
	.on_stream_close = on_stream_close,
	.on_goaway = on_goaway,
	.on_close = on_close,
};

/* False: the session has ended. */
static bool settle(void)
{
	while (h2_pull(t.h2, &t.out, 16384) > 0)
		str_reset(&t.out);
	str_reset(&t.out);
	while (h2_next(t.h2) <= t.now_ns)
		if (!h2_tick(t.h2, t.now_ns))
			return false;
	return true;
}

static void feed(const uint8_t *data, size_t size)
{
	while (size > 2) {
		size_t n = ((size_t)data[0] << 8 | data[1]) & 0x3fff;
		bool is_late = data[0] & 0x80, is_settled = !(data[0] & 0x40);
		uint8_t *piece = NULL;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		piece = xmalloc(n);
		memcpy(piece, data, n);
		t.now_ns += is_late ? 15 * NS_PER_S : NS_PER_MS;
		h2_receive(t.h2, t.now_ns, piece, n);
		free(piece);
		if (is_settled && !settle())
			return;
		data += n;
		size -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3 || size > 65536)
		return -1;
	memset(&t, 0, sizeof(t));
	t.now_ns = NS_PER_S;
	t.is_server = data[0] & 1;
	t.dice = data[1];
	t.h2 = h2_new(&(struct h2_options){ .is_server = t.is_server,
					    .ops = &ops,
					    .ping_interval_ns = t.is_server ? 0 : 20 * NS_PER_S,
					    .ping_timeout_ns = 10 * NS_PER_S },
		      t.now_ns);
	if (!t.is_server) {
		request(true);
		request(false);
	}
	feed(data + 2, size - 2);
	if (t.h2) {
		h2_lose(t.h2, &(struct err){ .code = ERR_UNAVAILABLE });
		while (t.h2 && h2_tick(t.h2, t.now_ns))
			;
	}
	assert(t.is_closed && t.n_streams == 0);
	str_done(&t.out);
	return 0;
}
