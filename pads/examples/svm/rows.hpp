// Tables as text: rows are lines, features and perhaps a label are decimal numbers between commas.
//
// Nothing here runs on but on what it understands: a program that cannot go on traps, which says
// nothing to anybody.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

using Row = std::vector<double>;

// Ends the program unless this holds.
inline void require(bool holds)
{
    if (!holds)
        __builtin_trap();
}

// One line: numbers between commas, and nothing else.
inline Row row_of(const std::string &line)
{
    Row row;
    const char *at = line.c_str();
    for (;;) {
        char *end;
        row.push_back(std::strtod(at, &end));
        require(end != at && (*end == ',' || *end == '\0'));
        if (*end == '\0')
            return row;
        at = end + 1;
    }
}

// All lines but empty ones; each has as many numbers as the first.
inline std::vector<Row> rows_of(const std::string &text)
{
    std::vector<Row> rows;
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        if (end > at)
            rows.push_back(row_of(text.substr(at, end - at)));
        at = end + 1;
        require(rows.empty() || rows.back().size() == rows.front().size());
    }
    return rows;
}
