// SPDX-License-Identifier: Apache-2.0
// What libcurl's ./configure would find out on 64-bit Linux with glibc, written
// down once for 7.88 to 8.22: x86_64 and aarch64, gcc and clang.
//
// One file serves every version, because a macro that a version does not know
// does no harm; where a name was changed, both names stand here.
//
// Built in: HTTP/1.1 and HTTP/2, HTTPS (OpenSSL), WebSocket, FTP, FILE; cookies
// and HSTS, each checked against the public suffix list, Alt-Svc, IPv6, the
// threaded resolver, export of TLS sessions (8.12 and later).
// Left out: what a share has no part in; see the CURL_DISABLE_ block.

#ifndef CURL_SHARE_THIRD_PARTY_CURL_CURL_CONFIG_H_
#define CURL_SHARE_THIRD_PARTY_CURL_CURL_CONFIG_H_

#if !defined(__linux__) || !defined(__LP64__)
#error "curl_config.h describes 64-bit Linux with glibc"
#endif

// For accept4, memrchr, pipe2, sendmmsg, and the strerror_r named below.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

// What curl_version() names as the system.
#if defined(__x86_64__)
#define CURL_OS "x86_64-pc-linux-gnu"
#elif defined(__aarch64__)
#define CURL_OS "aarch64-unknown-linux-gnu"
#else
#define CURL_OS "linux-gnu"
#endif
#define OS CURL_OS  // 7.x

// ---- Features --------------------------------------------------------------

#define USE_OPENSSL 1
#define HAVE_SSL_SET0_WBIO 1  // since OpenSSL 1.1.0
#define CURL_CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

#define HAVE_LIBZ 1
#define USE_NGHTTP2 1
#define USE_LIBPSL 1
#define USE_WEBSOCKETS 1   // 7.x; on unless disabled from 8.11
#define USE_SSLS_EXPORT 1  // from 8.12: curl_easy_ssls_export, _import
#define USE_UNIX_SOCKETS 1

#define USE_IPV6 1
#define ENABLE_IPV6 1  // 7.x

// Names are resolved in threads. From 8.20 the use of threads and the choice of
// the resolver are two macros.
#define USE_THREADS_POSIX 1
#define HAVE_THREADS_POSIX 1
#define USE_RESOLV_THREADED 1
#define HAVE_PTHREAD_H 1
#define HAVE_GETADDRINFO_THREADSAFE 1

// What curl_global_init needs to be safe to call from several threads
// (CURL_VERSION_THREADSAFE).
#define HAVE_ATOMIC 1
#define HAVE_STDATOMIC_H 1

// ---- Left out --------------------------------------------------------------

#define CURL_DISABLE_DICT 1
#define CURL_DISABLE_GOPHER 1
#define CURL_DISABLE_IMAP 1
#define CURL_DISABLE_IPFS 1
#define CURL_DISABLE_LDAP 1
#define CURL_DISABLE_LDAPS 1
#define CURL_DISABLE_MQTT 1
#define CURL_DISABLE_NTLM 1  // from 8.20 off unless CURL_ENABLE_NTLM
#define CURL_DISABLE_POP3 1
#define CURL_DISABLE_RTSP 1
#define CURL_DISABLE_SMB 1  // from 8.20 off unless CURL_ENABLE_SMB
#define CURL_DISABLE_SMTP 1
#define CURL_DISABLE_TELNET 1
#define CURL_DISABLE_TFTP 1

// ---- Sizes -----------------------------------------------------------------

#define SIZEOF_CURL_OFF_T 8
#define SIZEOF_CURL_SOCKET_T 4
#define SIZEOF_INT 4
#define SIZEOF_LONG 8
#define SIZEOF_OFF_T 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8

// ---- Headers ---------------------------------------------------------------

#define STDC_HEADERS 1
#define HAVE_ARPA_INET_H 1
#define HAVE_DIRENT_H 1
#define HAVE_FCNTL_H 1
#define HAVE_IFADDRS_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_LIBGEN_H 1
#define HAVE_LINUX_TCP_H 1
#define HAVE_NETDB_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_NETINET_TCP_H 1
#define HAVE_NETINET_UDP_H 1
#define HAVE_NET_IF_H 1
#define HAVE_POLL_H 1
#define HAVE_PWD_H 1
#define HAVE_SETJMP_H 1
#define HAVE_SIGNAL_H 1
#define HAVE_STDBOOL_H 1
#define HAVE_STDINT_H 1
#define HAVE_STDIO_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRINGS_H 1
#define HAVE_STRING_H 1
#define HAVE_SYS_EVENTFD_H 1
#define HAVE_SYS_IOCTL_H 1
#define HAVE_SYS_PARAM_H 1
#define HAVE_SYS_POLL_H 1
#define HAVE_SYS_SELECT_H 1
#define HAVE_SYS_SOCKET_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_UN_H 1
#define HAVE_UNISTD_H 1

// ---- Types -----------------------------------------------------------------

#define HAVE_BOOL_T 1
#define HAVE_LONGLONG 1
#define HAVE_SA_FAMILY_T 1
#define CURL_SA_FAMILY_T sa_family_t
#define HAVE_SOCKADDR_IN6_SIN6_SCOPE_ID 1
#define HAVE_STRUCT_SOCKADDR_STORAGE 1
#define HAVE_STRUCT_TIMEVAL 1
#define HAVE_SUSECONDS_T 1
#define HAVE_VARIADIC_MACROS_C99 1
#define HAVE_VARIADIC_MACROS_GCC 1
#define GETHOSTNAME_TYPE_ARG2 size_t

// ---- Functions -------------------------------------------------------------

#define HAVE_ACCEPT4 1
#define HAVE_ALARM 1
#define HAVE_BASENAME 1
#define HAVE_CLOCK_GETTIME_MONOTONIC 1
#define HAVE_CLOCK_GETTIME_MONOTONIC_RAW 1
#define HAVE_DECL_FSEEKO 1
#define HAVE_EVENTFD 1
#define HAVE_FCHMOD 1
#define HAVE_FCNTL 1
#define HAVE_FCNTL_O_NONBLOCK 1
#define HAVE_FNMATCH 1
#define HAVE_FREEADDRINFO 1
#define HAVE_FSEEKO 1
#define HAVE_GETADDRINFO 1
#define HAVE_GETEUID 1
#define HAVE_GETHOSTBYNAME_R 1
#define HAVE_GETHOSTBYNAME_R_6 1
#define HAVE_GETHOSTNAME 1
#define HAVE_GETIFADDRS 1
#define HAVE_GETPEERNAME 1
#define HAVE_GETPPID 1
#define HAVE_GETPWUID 1
#define HAVE_GETPWUID_R 1
#define HAVE_GETSOCKNAME 1
#define HAVE_GETTIMEOFDAY 1
#define HAVE_GLIBC_STRERROR_R 1  // _GNU_SOURCE's returns char*
#define HAVE_GMTIME_R 1
#define HAVE_IF_NAMETOINDEX 1
#define HAVE_INET_NTOP 1
#define HAVE_INET_PTON 1
#define HAVE_IOCTL_FIONBIO 1
#define HAVE_IOCTL_SIOCGIFADDR 1
#define HAVE_LOCALTIME_R 1
#define HAVE_MEMRCHR 1
#define HAVE_MSG_NOSIGNAL 1
#define HAVE_OPENDIR 1
#define HAVE_PIPE 1
#define HAVE_PIPE2 1
#define HAVE_POLL 1
#define HAVE_POLL_FINE 1  // 7.x: poll() that needs no checking at run time
#define HAVE_REALPATH 1
#define HAVE_RECV 1
#define HAVE_SCHED_YIELD 1
#define HAVE_SELECT 1
#define HAVE_SEND 1
#define HAVE_SENDMMSG 1
#define HAVE_SENDMSG 1
#define HAVE_SIGACTION 1
#define HAVE_SIGNAL 1
#define HAVE_SIGSETJMP 1
#define HAVE_SNPRINTF 1
#define HAVE_SOCKET 1
#define HAVE_SOCKETPAIR 1
#define HAVE_STRCASECMP 1
#define HAVE_STRDUP 1
#define HAVE_STRERROR_R 1
#define HAVE_STRTOK_R 1
#define HAVE_STRTOLL 1

#endif  // CURL_SHARE_THIRD_PARTY_CURL_CURL_CONFIG_H_
