# SPDX-License-Identifier: Apache-2.0
"""Bazel 4's own Java rules under the names that rules_java gives them.

Nothing here is in Java, but Bazel 4 loads its Java toolchain in every build.
"""

java_binary = native.java_binary
java_import = native.java_import
java_library = native.java_library
java_proto_library = native.java_proto_library
java_runtime = native.java_runtime
java_toolchain = native.java_toolchain
