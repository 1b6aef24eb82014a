// SPDX-License-Identifier: Apache-2.0
// By this symbol tools/check_consumers sees that a program has the libcurl
// target of this workspace in it.
extern "C" {
extern const int test_helpers_own_libcurl;
const int test_helpers_own_libcurl = 1;
}
