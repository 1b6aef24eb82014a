# SPDX-License-Identifier: Apache-2.0
"""The archives that curl_share brings a BUILD file for: libcurl, which no
registry has with what curl_share relies on (four versions side by side, each
with libpsl, TLS session export and a thread-safe curl_global_init), and the
libraries of testing/, examples/ and benchmarks/.

Kept apart from //:deps.bzl because MODULE.bazel needs them too. None is fetched
before a target that needs it is built.
"""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")
load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")

_CURL_SHA256 = {
    "7.88.1": "cdb38b72e36bc5d33d5b8810f8018ece1baa29a8f215b4495e495ded82bbf3c7",
    "8.14.1": "6766ada7101d292b42b8b15681120acd68effa4a9660935853cf6d61f0d984d4",
    "8.21.0": "d9b327997999045a24cda50f3983e69e51c516bd8be6ef9842fc7f99135e33bb",
    "8.22.0": "d54dd598bf05927a726deb38df31c6a255ba83ff1de57c5d1464dac3ed8f44a1",
}

def curl_share_archives():
    """Declares @curl_<version> for each pinned libcurl, and the libraries."""
    for version, sha256 in _CURL_SHA256.items():
        underscored = version.replace(".", "_")
        maybe(
            http_archive,
            name = "curl_" + underscored,
            build_file = Label("//third_party/curl:curl.BUILD"),
            sha256 = sha256,
            strip_prefix = "curl-" + version,
            urls = [
                "https://curl.se/download/curl-{}.tar.gz".format(version),
                "https://github.com/curl/curl/releases/download/curl-{}/curl-{}.tar.gz".format(underscored, version),
            ],
        )

    maybe(
        http_archive,
        name = "cli11",
        build_file = Label("//third_party:cli11.BUILD"),
        sha256 = "73b7ec52261ce8fe980a29df6b4ceb66243bb0b779451dbd3d014cfec9fdbb58",
        strip_prefix = "CLI11-2.4.1",
        urls = ["https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.1.tar.gz"],
    )

    maybe(
        http_archive,
        name = "cpp_httplib",
        build_file = Label("//third_party:cpp_httplib.BUILD"),
        sha256 = "b7b1e9e4e77565a5a9bc95e761d5df3e7c0e8ca37c90fd78b1b031bc6cb90fc1",
        strip_prefix = "cpp-httplib-0.18.7",
        urls = ["https://github.com/yhirose/cpp-httplib/archive/refs/tags/v0.18.7.tar.gz"],
    )

    maybe(
        http_archive,
        name = "ftxui",
        build_file = Label("//third_party:ftxui.BUILD"),
        sha256 = "a2991cb222c944aee14397965d9f6b050245da849d8c5da7c72d112de2786b5b",
        strip_prefix = "FTXUI-5.0.0",
        urls = ["https://github.com/ArthurSonzogni/FTXUI/archive/refs/tags/v5.0.0.tar.gz"],
    )

    maybe(
        http_archive,
        name = "nlohmann_json",
        build_file = Label("//third_party:nlohmann_json.BUILD"),
        sha256 = "0d8ef5af7f9794e3263480193c491549b2ba6cc74bb018906202ada498a79406",
        strip_prefix = "json-3.11.3",
        urls = ["https://github.com/nlohmann/json/archive/refs/tags/v3.11.3.tar.gz"],
    )
