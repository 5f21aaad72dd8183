/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the micro-benchmarks, each several times in random turn with its floor, and compares the ratio of the
 * two medians with the one that is written down. CPU time is what counts: other work on the machine takes
 * none of it away. Exit status 1: a ratio is more than 30 % above the expected one, three times in a row.
 *
 *   bench-micro VMM GUEST EXPECTED [SUBJECT]
 */
#include "micro.h"

#include <err.h>

#include <fstream>
#include <map>
#include <string>

struct measure_snapshot micro_snapshot;

namespace
{
constexpr double ALLOWED = 1.3;
constexpr int ATTEMPTS = 3;

/* Keeps the medians, in nanoseconds of CPU time, by name. */
class medians : public benchmark::BenchmarkReporter
{
  public:
    std::map<std::string, double> ns;
    std::string failure;

    bool ReportContext(const Context &) override
    {
        return true;
    }

    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            if (run.error_occurred)
                failure = run.run_name.str() + ": " + run.error_message;
            else if (run.aggregate_name == "median")
                ns[run.run_name.function_name] = run.GetAdjustedCPUTime();
        }
    }
};

std::map<std::string, double> read_expected(const char *path)
{
    std::ifstream stream(path);
    std::map<std::string, double> expected;
    std::string subject;
    for (double ratio = 0; stream >> subject >> ratio;)
        expected[subject] = ratio;
    if (!stream.eof() || expected.empty())
        errx(1, "%s: not lines of SUBJECT RATIO", path);
    return expected;
}

/* Measures a subject and prints its row; true when it is as fast as expected. */
bool measure(const std::string &subject, double expected)
{
    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
        medians result;
        benchmark::RunSpecifiedBenchmarks(&result, "^" + subject + "/");
        if (!result.failure.empty())
            errx(1, "%s", result.failure.c_str());
        double floor = result.ns[subject + "/floor"];
        double ours = result.ns[subject + "/ours"];
        double ratio = ours / floor;
        bool good = ratio <= expected * ALLOWED;
        printf("%-12s %12.1f %12.1f %8.2f %10.2f%s\n", subject.c_str(), floor, ours, ratio, expected,
               good                 ? ""
               : attempt < ATTEMPTS ? "  slow; again"
                                    : "  REGRESSION: over 30 % above the expected ratio");
        if (good)
            return true;
    }
    return false;
}
} // namespace

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        errx(2, "usage: bench-micro VMM GUEST EXPECTED [SUBJECT]");
    std::map<std::string, double> expected = read_expected(argv[3]);
    char options[][64] = {"bench-micro", "--benchmark_repetitions=15", "--benchmark_min_time=0.02",
                          "--benchmark_enable_random_interleaving=true",
                          "--benchmark_report_aggregates_only=true"};
    char *arguments[] = {options[0], options[1], options[2], options[3], options[4], nullptr};
    int count = 5;
    benchmark::Initialize(&count, arguments);
    measure_snapshot_make(&micro_snapshot, argv[1], argv[2], MICRO_VCPUS);
    printf("%-12s %12s %12s %8s %10s\n", "", "floor ns", "ours ns", "ratio", "expected");
    int slow = 0;
    for (const auto &[subject, ratio] : expected) {
        if (argc == 4 || subject == argv[4])
            slow += measure(subject, ratio) ? 0 : 1;
    }
    measure_snapshot_remove(&micro_snapshot);
    printf("micro regressions: %d\n", slow);
    return slow == 0 ? 0 : 1;
}
