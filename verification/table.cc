// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/table.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "ftxui/dom/elements.hpp"
#include "ftxui/dom/table.hpp"
#include "ftxui/screen/screen.hpp"

namespace curlshare::testing {

std::string DrawTable(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = absl::StrCat(" ", cell, " ");
  }
  ftxui::Table table(std::move(rows));
  table.SelectAll().Border(ftxui::LIGHT);
  table.SelectAll().SeparatorVertical(ftxui::LIGHT);
  table.SelectRow(0).Border(ftxui::LIGHT);
  table.SelectRectangle(1, -1, 0, -1).DecorateCells(ftxui::align_right);
  ftxui::Element drawn = table.Render();
  // As large as it is: Dimension::Fit would cut it at the terminal's width.
  drawn->ComputeRequirement();
  ftxui::Screen screen(drawn->requirement().min_x, drawn->requirement().min_y);
  ftxui::Render(screen, drawn);
  return absl::StrCat(absl::StrReplaceAll(screen.ToString(), {{"\r", ""}}),
                      "\n");
}

}  // namespace curlshare::testing
