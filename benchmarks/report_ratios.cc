// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_ratios.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "benchmarks/report_data.h"

namespace curlshare::benchmarks {
namespace {

constexpr Term kNothing = {nullptr, nullptr, 0, nullptr};
constexpr Relation kAtMost = Relation::kAtMost;
constexpr Relation kAtLeast = Relation::kAtLeast;
constexpr char kRate[] = "requests_per_second";

constexpr RatioSpec kTable[] = {
    {"http_8_new_vs_no_share",
     "HTTP, a new handle for each request: requests/s in a share, to no share",
     {"requests", "BM_Http/share", 8, kRate},
     {"requests", "BM_Http/no_share", 8, kRate},
     kAtLeast,
     2.4},
    {"https_8_new_vs_no_share",
     "the same over HTTPS",
     {"requests", "BM_Https/share", 8, kRate},
     {"requests", "BM_Https/no_share", 8, kRate},
     kAtLeast,
     20},
    {"http_8_new_vs_pool",
     "HTTP, a new handle for each request: requests/s in a share, to a "
     "hand-made pool of handles",
     {"requests", "BM_Http/share", 8, kRate},
     {"requests", "BM_Http/pool", 8, kRate},
     kAtLeast,
     0.85},
    {"https_8_new_vs_pool",
     "the same over HTTPS",
     {"requests", "BM_Https/share", 8, kRate},
     {"requests", "BM_Https/pool", 8, kRate},
     kAtLeast,
     0.85},
    {"http_8_kept_vs_pool",
     "HTTP, a kept handle for each thread: requests/s in a share, to a "
     "hand-made pool of handles",
     {"requests", "BM_Http/kept", 8, kRate},
     {"requests", "BM_Http/pool", 8, kRate},
     kAtLeast,
     0.97},
    {"https_8_kept_vs_pool",
     "the same over HTTPS",
     {"requests", "BM_Https/kept", 8, kRate},
     {"requests", "BM_Https/pool", 8, kRate},
     kAtLeast,
     0.97},
    {"http_new_16_vs_8",
     "HTTP, a new handle for each request in a share: requests/s of 16 "
     "threads, "
     "to 8",
     {"requests", "BM_Http/share", 16, kRate},
     {"requests", "BM_Http/share", 8, kRate},
     kAtLeast,
     1},
    {"https_new_16_vs_8",
     "the same over HTTPS",
     {"requests", "BM_Https/share", 16, kRate},
     {"requests", "BM_Https/share", 8, kRate},
     kAtLeast,
     1},
    {"cookie_8_vs_own",
     "cookies shared too, kept handles: requests/s, to the same share with "
     "cookies of each handle's own",
     {"kinds", "BM_Kind/cookie", 8, kRate},
     {"kinds", "BM_Kind/cookie_own", 8, kRate},
     kAtLeast,
     0.97},
    {"cookie_8_vs_no_share",
     "the same, to no share",
     {"kinds", "BM_Kind/cookie", 8, kRate},
     {"kinds", "BM_Kind/cookie_no_share", 8, kRate},
     kAtLeast,
     0.97},
    {"bundle_8_client_cpu_vs_no_share",
     "a new HTTPS connection that trusts the system's certificate authorities: "
     "the client's CPU time in a share, to no share",
     {"tls", "BM_Bundle/share", 8, "client_cpu_s"},
     {"tls", "BM_Bundle/no_share", 8, "client_cpu_s"},
     kAtMost,
     0.2},
    {"pool_borrow_ns",
     "ns to borrow and give back a connection of the share's pool",
     {"pool", "BM_BorrowGiveBack/10", 1, "cpu_time"},
     kNothing,
     kAtMost,
     150},
    {"pool_borrow_100_vs_1",
     "the same with 100 idle connections, to 1",
     {"pool", "BM_BorrowGiveBack/100", 1, "cpu_time"},
     {"pool", "BM_BorrowGiveBack/1", 1, "cpu_time"},
     kAtMost,
     1.1},
    {"instructions_vs_no_share",
     "instructions for a request of a kept handle: in a share, to no share",
     {"instructions", "instructions/library", 1, "per_request"},
     {"instructions", "instructions/no_share", 1, "per_request"},
     kAtMost,
     1.02},
    // The back pages.
    // What the library costs.
    {"lock_uncontended_vs_pthread",
     "lock + unlock through the callbacks, one thread: CPU time, to a pthread "
     "mutex by hand",
     {"lock", "BM_LockUnlock<Library>/same:0", 1, "cpu_time"},
     {"lock", "BM_LockUnlock<PthreadPerKind>/same:0", 1, "cpu_time"},
     kAtMost,
     1.0},
    {"attach_detach_vs_by_hand",
     "attach + detach, one thread: CPU time, to CURLOPT_SHARE by hand",
     {"attach", "BM_AttachDetach_Library", 1, "cpu_time"},
     {"attach", "BM_AttachDetach_ByHand", 1, "cpu_time"},
     kAtMost,
     2.0,
     "by hand it is two pointers and a count, under one lock; here also the "
     "object of the attachment, which is allocated, and its places in the "
     "share's list, for Close, and in the table of all handles that are "
     "attached, each under a mutex, on the way in and on the way out"},
    {"close_100000_vs_1000",
     "Close, CPU time for each handle: 100,000 handles to 1,000",
     {"close", "BM_Close_Library/100000", 1, "per_handle"},
     {"close", "BM_Close_Library/1000", 1, "per_handle"},
     kAtMost,
     1.3,
     "100,000 handles and what belongs to them do not fit the processor's "
     "caches, libcurl's own part neither: see close_100000_vs_1000_by_hand"},
    {"close_100000_vs_1000_by_hand",
     "the same by hand: what the processor's caches do to libcurl itself",
     {"close", "BM_Close_ByHand/100000", 1, "per_handle"},
     {"close", "BM_Close_ByHand/1000", 1, "per_handle"}},
    {"attachment_bytes",
     "bytes of memory for each attachment, beyond libcurl's own",
     {"close", "BM_Close_Library/100000", 1, "bytes"},
     kNothing,
     kAtMost,
     128},
    {"begin_end_16_one_share_vs_own",
     "begin + end of a transfer, 16 threads: CPU time on one share, to a share "
     "for each thread, where nothing is in common",
     {"scope", "BM_BeginEndTransfer_OneShare", 16, "cpu_time"},
     {"scope", "BM_BeginEndTransfer_OwnShare", 16, "cpu_time"},
     kAtMost,
     1.1},
    {"instructions_vs_by_hand",
     "instructions for a request on a kept connection, to libcurl by hand",
     {"instructions", "instructions/library", 1, "per_request"},
     {"instructions", "instructions/by_hand", 1, "per_request"},
     kAtMost,
     1.01,
     "the multi handle of curl_multi_init, which a Cancel() can wake, has "
     "larger "
     "tables than the one inside curl_easy_perform, and libcurl walks them for "
     "each request: Curl_hash_next_element, Curl_uint32_bset_next; what the "
     "share's connection pool adds, see instructions_vs_no_share"},
    {"new_handle_instructions_vs_kept",
     "instructions for a request in a share, its connection kept: of a new "
     "handle, to those of a kept one",
     {"instructions", "instructions/new", 1, "per_request"},
     {"instructions", "instructions/library", 1, "per_request"}},
    {"tls_instructions_vs_by_hand",
     "the client's instructions for a request on a new HTTPS connection, all "
     "resumed, to a share by hand",
     {"instructions", "instructions_tls/library", 1, "per_request"},
     {"instructions", "instructions_tls/by_hand", 1, "per_request"}},
    {"tls_instructions_vs_no_share",
     "the same, to no share: the most that resumed handshakes can save",
     {"instructions", "instructions_tls/library", 1, "per_request"},
     {"instructions", "instructions_tls/no_share", 1, "per_request"}},
    // Requests.
    {"http_8_new_client_cpu_vs_pool",
     "HTTP, a new handle for each request, 8 threads: the client's CPU time in "
     "a share, to a hand-made pool",
     {"requests", "BM_Http/share", 8, "client_cpu_s"},
     {"requests", "BM_Http/pool", 8, "client_cpu_s"}},
    {"https_8_new_client_cpu_vs_pool",
     "the same over HTTPS",
     {"requests", "BM_Https/share", 8, "client_cpu_s"},
     {"requests", "BM_Https/pool", 8, "client_cpu_s"}},
    {"http_8_kept_client_cpu_vs_pool",
     "HTTP, a kept handle for each thread, 8 threads: the client's CPU time in "
     "a share, to a hand-made pool",
     {"requests", "BM_Http/kept", 8, "client_cpu_s"},
     {"requests", "BM_Http/pool", 8, "client_cpu_s"}},
    {"https_8_kept_client_cpu_vs_pool",
     "the same over HTTPS",
     {"requests", "BM_Https/kept", 8, "client_cpu_s"},
     {"requests", "BM_Https/pool", 8, "client_cpu_s"}},
    {"gated_8_vs_ungated",
     "bound by the processor, 8 threads: requests/s behind the gate, to none",
     {"requests", "BM_Http/kept_gated", 8, kRate},
     {"requests", "BM_Http/kept", 8, kRate}},
    // New connections.
    {"bundle_1_client_cpu_vs_no_share",
     "a new HTTPS connection that trusts the system's certificate authorities, "
     "1 thread: the client's CPU time in a share, to no share",
     {"tls", "BM_Bundle/share", 1, "client_cpu_s"},
     {"tls", "BM_Bundle/no_share", 1, "client_cpu_s"}},
    {"tls_1_vs_by_hand",
     "new HTTPS connections, 1 thread: requests/s, to a share by hand",
     {"tls", "BM_Tls/library", 1, kRate},
     {"tls", "BM_Tls/by_hand", 1, kRate},
     kAtLeast,
     0.98},
    {"tls_8_vs_by_hand",
     "new HTTPS connections, 8 threads: requests/s, to a share by hand",
     {"tls", "BM_Tls/library", 8, kRate},
     {"tls", "BM_Tls/by_hand", 8, kRate},
     kAtLeast,
     0.98},
    {"tls_8_client_cpu_vs_no_share",
     "new HTTPS connections, 8 threads: the client's CPU time, to no share",
     {"tls", "BM_Tls/library", 8, "client_cpu_s"},
     {"tls", "BM_Tls/no_share", 8, "client_cpu_s"}},
    {"tls_8_server_cpu_vs_no_share",
     "new HTTPS connections, 8 threads: the server's CPU time, to no share",
     {"tls", "BM_Tls/library", 8, "server_cpu_s"},
     {"tls", "BM_Tls/no_share", 8, "server_cpu_s"}},
    // Bound by waiting.
    {"latency_64_gated_vs_ungated",
     "a server that answers after 20 ms, 64 threads: requests/s behind the "
     "gate, to none",
     {"latency", "BM_Latency/library_gated", 64, kRate},
     {"latency", "BM_Latency/library", 64, kRate},
     kAtLeast,
     0.95},
    {"latency_256_gated_vs_ungated",
     "the same with 256 threads",
     {"latency", "BM_Latency/library_gated", 256, kRate},
     {"latency", "BM_Latency/library", 256, kRate},
     kAtLeast,
     0.95},
    {"latency_64_gated_vs_one_call_at_a_time",
     "the same with 64 threads: behind the gate, to a mutex around "
     "curl_easy_perform",
     {"latency", "BM_Latency/library_gated", 64, kRate},
     {"latency", "BM_Latency/one_call_at_a_time", 64, kRate},
     kAtLeast,
     10},
    // Name look-ups.
    {"dns_8_first_byte_vs_no_share",
     "a resolver that takes 50 ms, 8 threads: time to the first byte, to no "
     "share",
     {"dns", "BM_Dns/library", 8, "first_byte_ms"},
     {"dns", "BM_Dns/no_share", 8, "first_byte_ms"}},
    {"dns_8_lookups_vs_no_share",
     "the same with 8 threads: look-ups, to no share",
     {"dns", "BM_Dns/library", 8, "lookups"},
     {"dns", "BM_Dns/no_share", 8, "lookups"}},
    // The gate, which HSTS needs.
    {"hsts_8_vs_no_share",
     "a share of HSTS, HTTPS, 8 threads: requests/s, to no share",
     {"kinds", "BM_Kind/hsts", 8, kRate},
     {"kinds", "BM_Kind/hsts_no_share", 8, kRate}},
    // Mistakes.
    {"one_mutex_lock_8_vs_library",
     "one mutex for all kinds, 8 threads that want different ones: time of "
     "lock + unlock, to this library",
     {"lock", "BM_LockUnlock<StdMutexForAll>/same:0", 8, "real_time"},
     {"lock", "BM_LockUnlock<Library>/same:0", 8, "real_time"}},
    {"share_per_thread_tls_8_vs_library",
     "a share for each thread, new HTTPS connections, 8 threads: requests/s, "
     "to one share",
     {"tls", "BM_Tls/share_per_thread", 8, kRate},
     {"tls", "BM_Tls/library", 8, kRate}},
};

bool Holds(const RatioSpec& spec, double value) {
  return spec.relation == Relation::kAtMost ? value <= spec.goal
                                            : value >= spec.goal;
}

bool Known(const Json& ratio) {
  return ratio.is_object() && ratio.contains("value") &&
         ratio["value"].is_number();
}

double Edge(const Json& ratio, const char* which) {
  const auto spread = ratio.find("spread");
  return spread != ratio.end() && spread->is_object()
             ? spread->value(which, ratio["value"].get<double>())
             : ratio["value"].get<double>();
}

}  // namespace

absl::Span<const RatioSpec> RatioTable() { return kTable; }

Ratio ComputeRatio(const RatioSpec& spec, const Json& results) {
  Ratio ratio;
  ratio.spec = &spec;
  const auto values = [&results](const Term& term) {
    return Values(results, term.measurement, term.benchmark, term.threads,
                  term.metric);
  };
  absl::StatusOr<std::vector<double>> pairs = values(spec.numerator);
  if (pairs.ok() && spec.denominator.measurement != nullptr) {
    const auto denominators = values(spec.denominator);
    if (!denominators.ok()) {
      pairs = denominators.status();
    } else {
      pairs->resize(std::min(pairs->size(), denominators->size()));
      for (size_t i = 0; i < pairs->size(); ++i) {
        if ((*denominators)[i] == 0) {
          pairs = absl::NotFoundError("it would be divided by zero");
          break;
        }
        (*pairs)[i] /= (*denominators)[i];
      }
    }
  }
  if (!pairs.ok()) {
    ratio.missing = std::string(pairs.status().message());
    return ratio;
  }
  ratio.spread = SpreadOf(*std::move(pairs));
  if (spec.relation == Relation::kNone) {
    ratio.verdict = Verdict::kNoGoal;
    return ratio;
  }
  const bool met = Holds(spec, ratio.spread.median);
  const bool all_agree = Holds(spec, ratio.spread.min) == met &&
                         Holds(spec, ratio.spread.max) == met;
  ratio.verdict = met         ? all_agree ? Verdict::kMet : Verdict::kMetInNoise
                  : all_agree ? Verdict::kMissed
                              : Verdict::kMissedInNoise;
  return ratio;
}

std::vector<Ratio> ComputeRatios(absl::Span<const RatioSpec> specs,
                                 const Json& results) {
  std::vector<Ratio> ratios;
  ratios.reserve(specs.size());
  for (const RatioSpec& spec : specs) {
    ratios.push_back(ComputeRatio(spec, results));
  }
  return ratios;
}

std::string GoalText(const RatioSpec& spec) {
  switch (spec.relation) {
    case Relation::kNone:
      return "";
    case Relation::kAtMost:
      return absl::StrFormat("<= %g", spec.goal);
    case Relation::kAtLeast:
      return absl::StrFormat(">= %g", spec.goal);
  }
  return "";
}

std::string VerdictText(const Ratio& ratio) {
  switch (ratio.verdict) {
    case Verdict::kMet:
      return "met";
    case Verdict::kMissed:
      return "missed";
    case Verdict::kMetInNoise:
      return "met, within the noise";
    case Verdict::kMissedInNoise:
      return "missed, within the noise";
    case Verdict::kNoGoal:
      return "";
    case Verdict::kNotMeasured:
      return absl::StrCat("not measured: ", ratio.missing);
  }
  return "";
}

Json RatiosToJson(absl::Span<const Ratio> ratios) {
  Json json = Json::object();
  for (const Ratio& ratio : ratios) {
    Json one;
    const bool known = ratio.verdict != Verdict::kNotMeasured;
    const bool has_goal = ratio.spec->relation != Relation::kNone;
    one["value"] = known ? Json(ratio.spread.median) : Json();
    one["goal"] = has_goal ? Json(GoalText(*ratio.spec)) : Json();
    one["met"] = known && has_goal
                     ? Json(Holds(*ratio.spec, ratio.spread.median))
                     : Json();
    one["verdict"] = VerdictText(ratio);
    one["spread"] = known ? Json{{"cv", ratio.spread.cv},
                                 {"min", ratio.spread.min},
                                 {"max", ratio.spread.max},
                                 {"repetitions", ratio.spread.count}}
                          : Json();
    json[ratio.spec->name] = std::move(one);
  }
  return json;
}

std::vector<RatioChange> CompareRatios(const Json& before, const Json& now) {
  std::vector<RatioChange> changes;
  const auto add = [&](const std::string& name) {
    RatioChange change;
    change.name = name;
    if (before.contains(name)) change.before = before[name];
    if (now.contains(name)) change.now = now[name];
    if (Known(change.before) && Known(change.now)) {
      change.beyond_noise =
          Edge(change.before, "max") < Edge(change.now, "min") ||
          Edge(change.now, "max") < Edge(change.before, "min");
      change.verdict_flipped =
          change.before.value("met", Json()) != change.now.value("met", Json());
    }
    changes.push_back(std::move(change));
  };
  for (const auto& item : now.items()) add(item.key());
  for (const auto& item : before.items()) {
    if (!now.contains(item.key())) add(item.key());
  }
  return changes;
}

}  // namespace curlshare::benchmarks
