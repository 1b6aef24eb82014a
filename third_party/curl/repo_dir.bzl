"""Where the files of the calling repository are, seen from a compiler."""

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
