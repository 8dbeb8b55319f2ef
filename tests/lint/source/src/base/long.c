/* SPDX-License-Identifier: Apache-2.0 */
int long_one(int x);
int long_one(int x)
{
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	x++;
	return x;
}

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;

int more;
