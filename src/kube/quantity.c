/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar and the rounding of apimachinery pkg/api/resource (quantity.go,
 * suffix.go), for whole units only.
 *
 * Exact without big numbers: a decimal quantity is its digits with the point
 * moved, so digits before the new point are the value and any digit other than
 * 0 behind it rounds up. A binary one is whole × 2^k plus the fraction × 2^k;
 * the fraction is worked off from its last digit (Horner), keeping in one bit
 * whether anything was cut, so a thousand digits cost no more than a loop.
 *
 * Rounding first to nano and then to units, as the API server does, gives the
 * same result: the ceiling of a ceiling.
 */
#include "kube/quantity.h"

#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct number {
	const char *whole;
	size_t n_whole;
	const char *fraction;
	size_t n_fraction;
	bool is_negative;
};

struct unit {
	bool is_binary;
	int64_t power; /* of 2 or of 10 */
};

static size_t count_digits(const char *s)
{
	return strspn(s, "0123456789");
}

static bool has_nonzero(const char *digits, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (digits[i] != '0')
			return true;
	return false;
}

/* [+-]? digits[.digits]; returns what follows, NULL if there is no digit. */
static const char *scan_number(const char *s, struct number *ret_number)
{
	struct number n = { .is_negative = *s == '-' };

	if (*s == '-' || *s == '+')
		s++;
	n.whole = s;
	n.n_whole = count_digits(s);
	s += n.n_whole;
	n.fraction = s;
	if (*s == '.') {
		n.fraction = ++s;
		n.n_fraction = count_digits(s);
		s += n.n_fraction;
	}
	if (n.n_whole + n.n_fraction == 0)
		return NULL;
	*ret_number = n;
	return s;
}

/* The signed integer of 1e3; far out of range it stays far out of range. */
static int scan_exponent(const char *s, int64_t *ret_power)
{
	bool is_negative = *s == '-';
	int64_t power = 0;

	if (*s == '-' || *s == '+')
		s++;
	if (*s == '\0' || s[count_digits(s)] != '\0')
		return -EINVAL;
	for (; *s; s++)
		if (power < INT32_MAX)
			power = power * 10 + (*s - '0');
	*ret_power = is_negative ? -power : power;
	return 0;
}

static int scan_unit(const char *s, struct unit *ret_unit)
{
	static const char binary[] = "KMGTPE";
	static const struct {
		const char *suffix;
		int power;
	} decimal[] = {
		{ "n", -9 }, { "u", -6 }, { "m", -3 }, { "", 0 },   { "k", 3 },
		{ "M", 6 },  { "G", 9 },  { "T", 12 }, { "P", 15 }, { "E", 18 },
	};
	const char *at = *s ? strchr(binary, *s) : NULL;

	for (size_t i = 0; i < sizeof(decimal) / sizeof(decimal[0]); i++) {
		if (strcmp(s, decimal[i].suffix) == 0) {
			*ret_unit = (struct unit){ .power = decimal[i].power };
			return 0;
		}
	}
	if (at && strcmp(s + 1, "i") == 0) {
		*ret_unit = (struct unit){ .is_binary = true, .power = (at - binary + 1) * 10 };
		return 0;
	}
	if (*s != 'e' && *s != 'E')
		return -EINVAL;
	*ret_unit = (struct unit){ 0 };
	return scan_exponent(s + 1, &ret_unit->power);
}

/* Digit number i of whole and fraction written one after the other. */
static unsigned digit_at(const struct number *n, size_t i)
{
	char c = i < n->n_whole ? n->whole[i] : n->fraction[i - n->n_whole];

	return (unsigned)(c - '0');
}

static int read_decimal(const struct number *n, int64_t power, uint64_t *ret_value)
{
	size_t n_digits = n->n_whole + n->n_fraction;
	int64_t point = (int64_t)n->n_whole + power; /* digits before the point */
	uint64_t value = 0;
	bool is_cut = false;

	for (size_t i = 0; i < n_digits; i++) {
		unsigned digit = digit_at(n, i);

		if ((int64_t)i >= point)
			is_cut |= digit != 0;
		else if (!num_mul_u64(value, 10, &value) || !num_add_u64(value, digit, &value))
			return -ERANGE;
	}
	for (int64_t i = (int64_t)n_digits; value && i < point; i++)
		if (!num_mul_u64(value, 10, &value))
			return -ERANGE;
	if (is_cut && !num_add_u64(value, 1, &value))
		return -ERANGE;
	if (value > INT64_MAX)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

/* 0.fraction × 2^power, rounded up. power ≤ 60, so ten times it fits 64 bits. */
static uint64_t scale_fraction(const struct number *n, int64_t power)
{
	uint64_t value = 0;
	bool is_cut = false;

	for (size_t i = n->n_fraction; i > 0; i--) {
		uint64_t digit = (uint64_t)(n->fraction[i - 1] - '0');
		uint64_t sum;

		/* 9 × 2^60 + (2^60 - 1) < 2^64 */
		sum = (digit << power) + value;
		is_cut |= sum % 10 != 0;
		value = sum / 10;
	}
	return value + is_cut;
}

static uint64_t read_binary(const struct number *n, int64_t power)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n->n_whole; i++)
		if (!num_mul_u64(value, 10, &value) || !num_add_u64(value, digit_at(n, i), &value))
			return INT64_MAX;
	if (!num_mul_u64(value, UINT64_C(1) << power, &value) ||
	    !num_add_u64(value, scale_fraction(n, power), &value) || value > INT64_MAX)
		return INT64_MAX;
	return value;
}

int kube_quantity_parse(const char *text, uint64_t *ret_value)
{
	struct number number;
	struct unit unit;
	const char *rest = scan_number(text, &number);

	if (!rest || scan_unit(rest, &unit) < 0)
		return -EINVAL;
	if (number.is_negative && (has_nonzero(number.whole, number.n_whole) ||
				   has_nonzero(number.fraction, number.n_fraction)))
		return -EINVAL;
	if (!unit.is_binary)
		return read_decimal(&number, unit.power, ret_value);
	*ret_value = read_binary(&number, unit.power);
	return 0;
}
