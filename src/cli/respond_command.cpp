// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "probe/resolve.h"
#include "probe/responder.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t highest_answer_rate = 10'000'000;

struct RespondOptions {
  std::vector<std::string> addresses;
  std::uint16_t port = probe::ResponderOptions::default_port;
  std::int64_t rate = probe::ResponderOptions{}.limit_per_second;
  std::string netns;
};

base::Result<probe::ResponderOptions> responder_options(const RespondOptions& given) {
  probe::ResponderOptions options;
  options.netns = given.netns;
  options.limit_per_second = given.rate;
  for (const std::string& text : given.addresses) {
    base::Result<probe::Endpoint> endpoint = probe::resolve_endpoint(text);
    if (!endpoint) {
      return endpoint.error();
    }
    endpoint->port = given.port;
    options.listen.push_back(*endpoint);
  }
  if (options.listen.empty()) {
    for (const int family : {AF_INET, AF_INET6}) {
      probe::Endpoint any;
      any.family = family;
      any.port = given.port;
      options.listen.push_back(any);
    }
  }
  return options;
}

int respond(const RespondOptions& given) {
  const base::Result<probe::ResponderOptions> options = responder_options(given);
  base::Result<probe::Responder> responder =
      options ? probe::Responder::open(*options) : base::Result<probe::Responder>(options.error());
  if (!responder) {
    print_error(responder.error());
    return exit_error;
  }
  const InterruptGuard interrupts;
  for (const probe::Endpoint& endpoint : responder->endpoints()) {
    fmt::print(stderr, "answering UDP probes at {} (Ctrl-C ends it)\n", probe::endpoint_text(endpoint));
  }
  base::Result<probe::ResponderCounts> counts = probe::ResponderCounts{};
  std::jthread thread([&](const std::stop_token& stop) { counts = responder->run(stop); });
  constexpr auto look_every = std::chrono::milliseconds(100);
  while (!InterruptGuard::requested()) {
    std::this_thread::sleep_for(look_every);
  }
  thread.request_stop();
  thread.join();
  if (!counts) {
    print_error(counts.error());
    return exit_error;
  }
  print_out(fmt::format("{} answered, {} over the limit of their source, {} were no probes, {} could not be sent\n",
                        base::format_count(counts->answered), base::format_count(counts->over_limit),
                        base::format_count(counts->ignored), base::format_count(counts->failed)));
  return finish_output() ? exit_clean : exit_error;
}

}  // namespace

void add_respond_command(CLI::App& app, int& exit_status) {
  CLI::App* command = app.add_subcommand("respond", "Answer the UDP probes of 'stallscope probe' until Ctrl-C");
  auto options = std::make_shared<RespondOptions>();
  command->add_option("address", options->addresses, "Addresses to answer at; by default all, of IPv4 and IPv6");
  command->add_option("--port", options->port, "UDP port to answer at")->check(CLI::Range(1, 65535))->capture_default_str();
  command->add_option("--rate", options->rate, "Most answers per second to one source; probes beyond that are not answered")
      ->check(CLI::Range(std::int64_t{1}, highest_answer_rate))
      ->capture_default_str();
  command->add_option("--netns", options->netns, "Network namespace to answer in: a name of ip-netns(8), or a path");
  command->footer(
      "EXAMPLES\n"
      "  stallscope respond\n"
      "      Answer at UDP port 7099 of every address.\n"
      "  stallscope respond 10.0.1.2 --port 9000 --rate 1000\n"
      "      At one address and another port, at most 1,000 times a second to each source.");
  command->callback([options, &exit_status] { exit_status = respond(*options); });
}

}  // namespace stallscope::cli
