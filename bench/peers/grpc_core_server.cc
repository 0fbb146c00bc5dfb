// KServe v2 server on gRPC's C-core (C++ asynchronous generic API): a peer that is not ours.
//
//   grpc_core_server FOLDER [--service-us N] [--lengths fixed|lognormal:MEDIAN,SIGMA] [--seed N]
//
// FOLDER holds one file a method, named by it (ModelInfer, ModelMetadata, ...): the serialized
// answer. An answer to ModelInfer starts with the id of its request, as Triton's does. With
// lognormal lengths one BYTES element of that many bytes follows the stored answer as its raw
// contents. One thread, one completion queue. Prints "ready on 127.0.0.1:PORT".

#include <grpcpp/alarm.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>

namespace {

struct Options {
  std::map<std::string, std::string> answers;
  int64_t service_us = 0;
  double median_bytes = 0, sigma = 0;
  std::mt19937_64 random{1};
};

bool Varint(const std::string& bytes, size_t& at, uint64_t& value) {
  value = 0;
  for (int shift = 0; at < bytes.size() && shift < 64; shift += 7) {
    const uint8_t byte = bytes[at++];
    value |= uint64_t(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

void PutLength(std::string& out, uint64_t value) {
  for (; value > 0x7f; value >>= 7) out.push_back(char(0x80 | (value & 0x7f)));
  out.push_back(char(value));
}

// The id (field 3) of a ModelInferRequest, whichever of its first fields come before it.
std::string RequestId(const std::string& request) {
  size_t at = 0;
  uint64_t key = 0, size = 0;
  while (Varint(request, at, key) && (key & 7) == 2 && Varint(request, at, size) &&
         size <= request.size() - at) {
    if (key >> 3 == 3) return request.substr(at, size);
    if (key >> 3 > 3) break;
    at += size;
  }
  return {};
}

std::string InferAnswer(Options& options, const std::string& request) {
  const std::string id = RequestId(request);
  std::string out;
  if (!id.empty()) {
    out.push_back(0x1a);
    PutLength(out, id.size());
    out += id;
  }
  out += options.answers.at("ModelInfer");
  if (options.sigma > 0) {
    std::normal_distribution<double> normal;
    const double drawn = options.median_bytes * std::exp(options.sigma * normal(options.random));
    const uint32_t size = uint32_t(std::min(drawn, 1e6));
    out.push_back(0x32);  // raw_output_contents: one BYTES element
    PutLength(out, size + 4);
    out.append(reinterpret_cast<const char*>(&size), 4);
    out.append(size, 'x');
  }
  return out;
}

class Call {
 public:
  Call(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue, Options& options)
      : service_(service), queue_(queue), options_(options), stream_(&context_) {
    service_.RequestCall(&context_, &stream_, &queue_, &queue_, this);
  }

  void Proceed(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    switch (step_++) {
      case 0:
        new Call(service_, queue_, options_);
        stream_.Read(&request_, this);
        return;
      case 1:
        if (options_.service_us == 0 || Method() != "ModelInfer") {
          ++step_;
          Answer();
          return;
        }
        alarm_.Set(&queue_,
                   std::chrono::system_clock::now() +
                       std::chrono::microseconds(options_.service_us),
                   this);
        return;
      case 2:
        Answer();
        return;
      default:
        delete this;
    }
  }

 private:
  std::string Method() const {
    const std::string path = context_.method();
    return path.substr(path.rfind('/') + 1);
  }

  void Answer() {
    const std::string method = Method();
    if (!options_.answers.count(method)) {
      stream_.Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, method), this);
      return;
    }
    std::string bytes;
    if (method == "ModelInfer") {
      std::vector<grpc::Slice> slices;
      request_.Dump(&slices);
      std::string request;
      for (const auto& slice : slices)
        request.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      bytes = InferAnswer(options_, request);
    } else {
      bytes = options_.answers.at(method);
    }
    grpc::Slice slice(bytes);
    stream_.WriteAndFinish(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), grpc::Status::OK,
                           this);
  }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  Options& options_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer request_;
  grpc::Alarm alarm_;
  int step_ = 0;
};

std::map<std::string, std::string> ReadAnswers(const std::string& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    found[entry.path().filename().string()] = {std::istreambuf_iterator<char>(file), {}};
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: grpc_core_server FOLDER [--service-us N] [--lengths RULE]\n");
    return 2;
  }
  Options options;
  options.answers = ReadAnswers(argv[1]);
  for (int at = 2; at + 1 < argc; at += 2) {
    const std::string flag = argv[at], value = argv[at + 1];
    if (flag == "--service-us") options.service_us = std::atoll(value.c_str());
    if (flag == "--seed") options.random.seed(std::strtoull(value.c_str(), nullptr, 10));
    if (flag == "--lengths" && value != "fixed" &&
        std::sscanf(value.c_str(), "lognormal:%lf,%lf", &options.median_bytes, &options.sigma) !=
            2) {
      std::fprintf(stderr, "--lengths: fixed or lognormal:MEDIAN,SIGMA\n");
      return 2;
    }
  }
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterAsyncGenericService(&service);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::printf("ready on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  for (int ready = 0; ready < 100; ++ready) new Call(service, *queue, options);
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Proceed(ok);
  return 0;
}
