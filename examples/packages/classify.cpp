// Classifies a photo of zeros with the C++ header: spans know how many elements the model reads and writes. See run.sh.
#include <array>
#include <cstdio>

#include <cifar10.hpp>

namespace net = kiln::cifar10;

static net::arena memory;

int main() {
    static std::array<float, net::input_0::elements> pixels{};
    std::array<float, net::output_0::elements> probabilities{};
    const net::status status = net::run({pixels}, {probabilities}, memory);
    if (status != net::status::ok) {
        std::fprintf(stderr, "%s\n", net::message(status));
        return 1;
    }
    float sum = 0;
    for (float probability : probabilities) sum += probability;
    std::printf("%zu probabilities of '%s', which add up to %.3f\n", probabilities.size(), net::output_0::name, sum);
    return 0;
}
