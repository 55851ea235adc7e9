/* edgepack from C++14: the C library with owners of its objects and exceptions instead of codes. */
#ifndef EDGEPACK_HPP
#define EDGEPACK_HPP

#include <edgepack.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgepack {

/// What a function of the C library did not do, and why.
class Error : public std::runtime_error {
public:
    explicit Error(edgepack_status status) : std::runtime_error(edgepack_last_error()), status_(status) {}

    edgepack_status status() const noexcept { return status_; }

private:
    edgepack_status status_;
};

inline void check(edgepack_status status)
{
    if (status != EDGEPACK_STATUS_OK) {
        throw Error(status);
    }
}

/// Elements of an output where they lie: valid until the session is used again.
template <typename T> struct View {
    const T *data;
    std::size_t count;

    const T *begin() const noexcept { return data; }
    const T *end() const noexcept { return data + count; }
    const T &operator[](std::size_t index) const noexcept { return data[index]; }
};

/// Which edgepack_type a type of C++ is.
template <typename T> struct TypeOf;
template <> struct TypeOf<std::int8_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_I8; };
template <> struct TypeOf<float> { static constexpr edgepack_type value = EDGEPACK_TYPE_F32; };
template <> struct TypeOf<std::int32_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_I32; };
template <> struct TypeOf<std::int64_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_I64; };
template <> struct TypeOf<std::int16_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_I16; };
template <> struct TypeOf<std::uint16_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_U16; };
template <> struct TypeOf<std::uint32_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_U32; };
template <> struct TypeOf<std::uint64_t> { static constexpr edgepack_type value = EDGEPACK_TYPE_U64; };
template <> struct TypeOf<double> { static constexpr edgepack_type value = EDGEPACK_TYPE_F64; };

/// A package that was checked; may be shared by threads.
class Model {
public:
    /// Maps a file, which must not be changed while the model lives.
    static Model open(const std::string &path)
    {
        edgepack_model *model;
        check(edgepack_model_open(path.c_str(), &model));
        return Model(model);
    }

    /// Copies `size` bytes.
    static Model from_memory(const void *bytes, std::size_t size)
    {
        edgepack_model *model;
        check(edgepack_model_from_memory(bytes, size, &model));
        return Model(model);
    }

    std::size_t input_count() const noexcept { return edgepack_model_input_count(get()); }
    std::size_t output_count() const noexcept { return edgepack_model_output_count(get()); }
    const edgepack_tensor &input(std::size_t index) const { return found(edgepack_model_input(get(), index)); }
    const edgepack_tensor &output(std::size_t index) const { return found(edgepack_model_output(get(), index)); }
    const edgepack_model *get() const noexcept { return model_.get(); }

private:
    struct Free {
        void operator()(edgepack_model *model) const noexcept { edgepack_model_free(model); }
    };

    explicit Model(edgepack_model *model) : model_(model) {}

    static const edgepack_tensor &found(const edgepack_tensor *tensor)
    {
        if (tensor == nullptr) {
            throw Error(EDGEPACK_STATUS_ARGUMENT);
        }
        return *tensor;
    }

    std::unique_ptr<edgepack_model, Free> model_;
};

/// What runs a model; belongs to one thread at a time. The model may end before it.
class Session {
public:
    explicit Session(const Model &model, std::uint32_t threads = 1)
    {
        edgepack_session *session;
        check(edgepack_session_new(model.get(), threads, &session));
        session_.reset(session);
    }

    /// Raw pixels [N, H, W, C], RGB.
    void set_pixels(std::size_t index, const std::uint8_t *pixels, std::size_t count)
    {
        check(edgepack_session_set_input_pixels(get(), index, pixels, count));
    }

    /// Elements in the model's own shape.
    template <typename T> void set_input(std::size_t index, const T *elements, std::size_t count)
    {
        check(edgepack_session_set_input(get(), index, TypeOf<T>::value, elements, count));
    }

    template <typename T> void set_input(std::size_t index, const std::vector<T> &elements)
    {
        set_input(index, elements.data(), elements.size());
    }

    void run() { check(edgepack_session_run(get())); }

    /// An output of the last run where it lies; `T` is its type, which the caller knows from Model::output.
    template <typename T> View<T> output(std::size_t index) const
    {
        const void *data;
        std::size_t bytes;
        check(edgepack_session_output(get(), index, &data, &bytes));
        return View<T>{static_cast<const T *>(data), bytes / sizeof(T)};
    }

    /// A copy of an output's bytes.
    void copy_output(std::size_t index, void *data, std::size_t bytes) const
    {
        check(edgepack_session_copy_output(get(), index, data, bytes));
    }

    /// The number of samples that gave the workstation's outputs; throws where one did not.
    std::size_t selftest()
    {
        std::size_t samples;
        check(edgepack_session_selftest(get(), &samples));
        return samples;
    }

    std::uint32_t threads() const noexcept { return edgepack_session_threads(get()); }
    std::size_t arena_bytes() const noexcept { return edgepack_session_arena_bytes(get()); }
    std::string isa() const
    {
        const char *isa = edgepack_session_isa(get());
        return isa == nullptr ? "" : isa;
    }
    edgepack_session *get() const noexcept { return session_.get(); }

private:
    struct Free {
        void operator()(edgepack_session *session) const noexcept { edgepack_session_free(session); }
    };

    std::unique_ptr<edgepack_session, Free> session_;
};

} // namespace edgepack

#endif
