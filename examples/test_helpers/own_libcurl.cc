// SPDX-License-Identifier: Apache-2.0
// tools/check_consumers looks for this symbol in a program, to check that the
// program was linked with the libcurl target of this workspace.
extern "C" {
extern const int test_helpers_own_libcurl;
const int test_helpers_own_libcurl = 1;
}
