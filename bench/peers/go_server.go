// KServe v2 server on grpc-go: a peer that is not ours.
//
//	go_server FOLDER
//
// FOLDER holds one file a method, named by it: the serialized answer. An answer to ModelInfer
// starts with the id of its request. Prints "ready on 127.0.0.1:PORT".
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rawCodec passes messages as bytes.
type rawCodec struct{}

func (rawCodec) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) String() string { return "raw" }

// requestID finds field 3 of a ModelInferRequest among its first fields.
func requestID(request []byte) []byte {
	for at := 0; at < len(request); {
		key, n := binary.Uvarint(request[at:])
		if n <= 0 || key&7 != 2 || key>>3 > 3 {
			return nil
		}
		at += n
		size, n := binary.Uvarint(request[at:])
		if n <= 0 || uint64(len(request)-at-n) < size {
			return nil
		}
		at += n
		if key>>3 == 3 {
			return request[at : at+int(size)]
		}
		at += int(size)
	}
	return nil
}

func answer(stored, request []byte) []byte {
	id := requestID(request)
	if len(id) == 0 {
		return stored
	}
	head := make([]byte, 1+binary.MaxVarintLen64)
	head[0] = 0x1a
	size := binary.PutUvarint(head[1:], uint64(len(id)))
	out := append(head[:1+size:1+size], id...)
	return append(out, stored...)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go_server FOLDER")
		os.Exit(2)
	}
	answers := map[string][]byte{}
	files, _ := filepath.Glob(filepath.Join(os.Args[1], "*"))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		answers[filepath.Base(file)] = content
	}
	handler := func(_ interface{}, stream grpc.ServerStream) error {
		full, _ := grpc.MethodFromServerStream(stream)
		stored, known := answers[path.Base(full)]
		if !known {
			return status.Error(codes.Unimplemented, full)
		}
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		if path.Base(full) == "ModelInfer" {
			stored = answer(stored, request)
		}
		return stream.SendMsg(&stored)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready on", listener.Addr())
	server := grpc.NewServer(grpc.CustomCodec(rawCodec{}), grpc.UnknownServiceHandler(handler))
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
