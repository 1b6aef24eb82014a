// SPDX-License-Identifier: Apache-2.0
#include "examples/fetch_report.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/verification/table.h"
#include "ftxui/dom/elements.hpp"
#include "ftxui/screen/screen.hpp"
#include "nlohmann/json.hpp"

namespace curlshare::examples {
namespace {

using ::curlshare::testing::DrawTable;
using Json = nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

// Returns the drawing of `element`, in its natural size.
std::string Draw(ftxui::Element element) {
  const auto size = ftxui::Dimension::Fit(element);
  ftxui::Screen screen(size.dimx, size.dimy);
  ftxui::Render(screen, element);
  return absl::StrReplaceAll(screen.ToString(), {{"\r", ""}});
}

std::string Optional(const std::optional<int64_t>& number) {
  return number.has_value() ? absl::StrCat(*number) : "unknown";
}

Json ToJson(const JobResult& result) {
  const auto number = [](const std::optional<int64_t>& value) {
    return value.has_value() ? Json(*value) : Json();
  };
  Json json;
  json["requests_ok"] = result.ok;
  json["requests_failed"] = result.failed;
  json["failures"] = result.failures;
  json["seconds"] = absl::ToDoubleSeconds(result.elapsed);
  json["requests_per_second"] = result.requests_per_second();
  json["tls_full"] = number(result.tls_full);
  json["tls_resumed"] = number(result.tls_resumed);
  json["dns_lookups"] = result.dns_lookups;
  json["connections"] = result.connections;
  return json;
}

Json ToJson(const KindLockStats& stats) {
  return {{"taken", stats.taken},
          {"contended", stats.contended},
          {"total_wait_seconds", absl::ToDoubleSeconds(stats.total_wait)},
          {"longest_wait_seconds", absl::ToDoubleSeconds(stats.longest_wait)}};
}

std::vector<std::string> LockRow(absl::string_view name,
                                 const KindLockStats& stats) {
  return {std::string(name), absl::StrCat(stats.taken),
          absl::StrCat(stats.contended), absl::FormatDuration(stats.total_wait),
          absl::FormatDuration(stats.longest_wait)};
}

}  // namespace

std::string ToTable(const Report& report) {
  Rows rows = {{""},
               {"requests ok"},
               {"requests failed"},
               {"requests/s"},
               {"TLS handshakes, full"},
               {"TLS handshakes, resumed"},
               {"DNS look-ups"},
               {"connections"}};
  const auto add_column = [&rows](const char* title,
                                  const std::optional<JobResult>& result) {
    if (!result.has_value()) return;
    const std::string cells[] = {
        title,
        absl::StrCat(result->ok),
        absl::StrCat(result->failed),
        absl::StrFormat("%.0f", result->requests_per_second()),
        Optional(result->tls_full),
        Optional(result->tls_resumed),
        absl::StrCat(result->dns_lookups),
        absl::StrCat(result->connections)};
    for (size_t i = 0; i < rows.size(); ++i) rows[i].push_back(cells[i]);
  };
  add_column("without share", report.unshared);
  add_column("with share", report.shared);
  std::string text = absl::StrFormat(
      "libcurl %s, %d threads, %s, sharing %s%s\n%s", RunningLibcurl().version,
      report.options.threads,
      report.options.new_handles ? "a new handle for each request"
                                 : "kept handles",
      report.lock_data.ToString(), report.gated ? " behind a gate" : "",
      DrawTable(std::move(rows)));
  for (const auto& [title, result] :
       {std::make_pair("without share", report.unshared),
        std::make_pair("with share", report.shared)}) {
    if (!result.has_value()) continue;
    for (const auto& [reason, times] : result->failures) {
      absl::StrAppend(&text, "failed ", title, ": ", times, " x ", reason,
                      "\n");
    }
  }
  if (report.shared.has_value()) {
    Rows locks = {{"lock", "taken", "contended", "waited", "longest wait"},
                  LockRow("share", report.share_stats.share_lock)};
    if (report.gated) {
      locks.insert(locks.begin() + 1, LockRow("gate", report.share_stats.gate));
    }
    // Connections are not shared through libcurl, so they have no lock of their
    // own. Their counts are in the table below.
    for (LockData kind : report.lock_data - LockData::kConnect) {
      locks.push_back(
          LockRow(LockDataName(kind), report.share_stats.lock(kind)));
    }
    absl::StrAppend(&text, DrawTable(std::move(locks)));
    if (report.lock_data.Contains(LockData::kConnect)) {
      const ConnectionStats& stats = report.share_stats.connections;
      absl::StrAppend(
          &text,
          DrawTable(
              {{"connections", "opened", "reused", "idle",
                "closed: idle too long", "too old", "over the cap", "failed",
                "waited"},
               {"of the share", absl::StrCat(stats.opened),
                absl::StrCat(stats.reused), absl::StrCat(stats.idle),
                absl::StrCat(stats.closed_idle), absl::StrCat(stats.closed_old),
                absl::StrCat(stats.closed_over_cap),
                absl::StrCat(stats.closed_failed),
                absl::StrCat(stats.waited)}}));
    }
  }
  if (report.interrupted) {
    absl::StrAppend(&text, "interrupted: this is what was done until then\n");
  }
  return text;
}

std::string ToJson(const Report& report) {
  Json json;
  json["libcurl"] = RunningLibcurl().version;
  json["lock_data"] = report.lock_data.ToString();
  json["gated"] = report.gated;
  json["threads"] = report.options.threads;
  json["requests"] = report.options.requests;
  json["handles"] = report.options.new_handles ? "new" : "kept";
  json["counted_by"] = report.counted_by_server ? "server" : "client";
  json["interrupted"] = report.interrupted;
  json["modes"] = Json::object();
  if (report.unshared.has_value()) {
    json["modes"]["unshared"] = ToJson(*report.unshared);
  }
  if (report.shared.has_value()) {
    Json& shared = json["modes"]["shared"];
    shared = ToJson(*report.shared);
    const ConnectionStats& pool = report.share_stats.connections;
    shared["pool"] = {{"opened", pool.opened},
                      {"reused", pool.reused},
                      {"in_use", pool.in_use},
                      {"idle", pool.idle},
                      {"closed_idle", pool.closed_idle},
                      {"closed_old", pool.closed_old},
                      {"closed_over_cap", pool.closed_over_cap},
                      {"closed_failed", pool.closed_failed},
                      {"waited", pool.waited}};
    shared["locks"]["gate"] =
        report.gated ? ToJson(report.share_stats.gate) : Json();
    shared["locks"]["share"] = ToJson(report.share_stats.share_lock);
    for (LockData kind : report.lock_data - LockData::kConnect) {
      shared["locks"][std::string(LockDataName(kind))] =
          ToJson(report.share_stats.lock(kind));
    }
  }
  return absl::StrCat(json.dump(), "\n");
}

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::Show(absl::string_view label, int64_t done, int64_t of) {
  if (!terminal_) return;
  const float part =
      of == 0 ? 1 : static_cast<float>(done) / static_cast<float>(of);
  ftxui::Element line = ftxui::hbox({
      ftxui::text(absl::StrFormat("%-14s", label)),
      ftxui::gauge(part) | ftxui::size(ftxui::WIDTH, ftxui::EQUAL, 40),
      ftxui::text(absl::StrFormat(" %d of %d", done, of)),
  });
  std::fputs(absl::StrCat("\r", Draw(std::move(line)), "\x1b[K").c_str(),
             stderr);
  std::fflush(stderr);
  shown_ = true;
}

void ProgressBar::Clear() {
  if (shown_) std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

}  // namespace curlshare::examples
