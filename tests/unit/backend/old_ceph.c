/* SPDX-License-Identifier: Apache-2.0 */
/* librados and librbd of a release that is too old, as far as test_ceph_lib.c looks: they tell
 * their version and have nothing else. */

void rados_version(int *major, int *minor, int *extra);
void rados_version(int *major, int *minor, int *extra)
{
	*major = 12;
	*minor = 2;
	*extra = 5;
}

void rbd_version(int *major, int *minor, int *extra);
void rbd_version(int *major, int *minor, int *extra)
{
	*major = 1;
	*minor = 12;
	*extra = 0;
}
