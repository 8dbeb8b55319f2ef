/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a verified peer is, as text for the log and for whoever judges calls: the names of its
 * certificate (subjectAltName), kind by kind, and last the common name, which people read and
 * nothing is decided by.
 *
 * Names are told apart by blanks, so a name keeps none, nor anything else that no host name, URI or
 * address has: "a DNS:admin" as one name would else be read as two.
 */
#include <arpa/inet.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "net/tls-internal.h"

static void append_name(struct str *out, const char *kind, const unsigned char *bytes, size_t n)
{
	str_appendf(out, " %s", kind);
	for (size_t i = 0; i < n; i++)
		str_append_char(out, bytes[i] > ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '?');
}

static void append_ip(struct str *out, const unsigned char *bytes, size_t n)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (n == 4 || n == 16)
		(void)inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text));
	append_name(out, "IP:", (const unsigned char *)text, strlen(text));
}

static void append_general_name(struct str *out, const GENERAL_NAME *name)
{
	int type = 0;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
	const unsigned char *bytes = NULL;
	size_t n = 0;

	if (type != GEN_DNS && type != GEN_URI && type != GEN_EMAIL && type != GEN_IPADD)
		return;
	bytes = ASN1_STRING_get0_data(value);
	n = (size_t)ASN1_STRING_length(value);
	if (type == GEN_IPADD)
		append_ip(out, bytes, n);
	else
		append_name(out,
			    type == GEN_DNS   ? "DNS:"
			    : type == GEN_URI ? "URI:"
					      : "email:",
			    bytes, n);
}

void tls_name_cert(X509 *cert, struct str *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		append_general_name(out, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
}

void tls_name_peer(const SSL *ssl, struct str *out)
{
	X509 *cert = SSL_get1_peer_certificate(ssl);
	char cn[64] = "";

	if (!cert)
		return;
	tls_name_cert(cert, out);
	if (X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn)) >
	    0)
		str_appendf(out, " CN=%s", cn);
	X509_free(cert);
}
