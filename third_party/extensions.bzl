# SPDX-License-Identifier: Apache-2.0
"""archives.bzl for MODULE.bazel."""

load(":archives.bzl", "curl_share_archives")

# Bazel 4 and 5 have no module extensions, and never load this file.
archives = module_extension(implementation = lambda _ctx: curl_share_archives())
