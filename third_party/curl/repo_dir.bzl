# SPDX-License-Identifier: Apache-2.0
"""Where files of libcurl and for it are, seen from a compiler."""

# buildifier: disable=unnamed-macro
def repo_dir():
    """Returns the directory of the repository of the BUILD file that calls.

    libcurl's sources name headers of lib/ from its subdirectories, so lib/ has
    to be on the search path, but on that of libcurl alone: the `includes` of a
    cc_library would hand it on to every user, and lib/ has a share.h.

    The repository's name cannot be written down, since MODULE.bazel gives it
    another one than WORKSPACE does.
    """

    # Bazel 4 knows only the first form, and later ones drop it.
    name = native.repo_name() if hasattr(native, "repo_name") else native.repository_name()
    return "external/" + name.lstrip("@")

def config_dir():
    """Returns the directory of curl_config.h, seen from a compiler.

    libcurl alone has it on its search path, for the same reason.
    """
    root = Label("//third_party/curl:curl_config.h").workspace_root
    return (root + "/" if root else "") + "third_party/curl"
