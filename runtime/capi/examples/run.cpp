// Runs a package on raw pixels and writes its outputs, with two threads: run PACKAGE PIXELS OUTPUTS
//
//   c++ -Wall -Wextra run.cpp $(pkg-config --cflags --libs edgepack) -o run
#include <edgepack.hpp>

#include <fstream>
#include <iostream>
#include <iterator>

namespace {

void run(const char *package, const char *pixels, const char *outputs)
{
    // From memory, as a package may be that is part of a program.
    std::ifstream file(package, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto model = edgepack::Model::from_memory(bytes.data(), bytes.size());
    edgepack::Session session(model, 2);
    std::cout << session.selftest() << " samples tested on " << session.isa() << ", " << session.threads()
              << " threads\n";

    std::ifstream from(pixels, std::ios::binary);
    std::ofstream to(outputs, std::ios::binary);
    std::vector<char> sample(model.input(0).elements);
    while (from.read(sample.data(), static_cast<std::streamsize>(sample.size()))) {
        session.set_pixels(0, reinterpret_cast<const std::uint8_t *>(sample.data()), sample.size());
        session.run();
        for (std::size_t index = 0; index < model.output_count(); index++) {
            std::vector<char> output(model.output(index).bytes);
            session.copy_output(index, output.data(), output.size());
            to.write(output.data(), static_cast<std::streamsize>(output.size()));
        }
    }
    if (!to.flush()) {
        throw std::runtime_error(std::string(outputs) + ": not written");
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::cerr << "usage: " << argv[0] << " PACKAGE PIXELS OUTPUTS\n";
        return 2;
    }
    try {
        run(argv[1], argv[2], argv[3]);
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
    return 0;
}
