// SPDX-License-Identifier: Apache-2.0

// The mock driver of Kubernetes' own end-to-end tests as a program: its service is taken as it is and put on a
// socket. What it is asked and what it answers goes to a file, a line of JSON a call, for a test to compare.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/mock/service"
)

type call struct {
	Method  string          `json:"method"`
	Request json.RawMessage `json:"request"`
	Error   string          `json:"error,omitempty"`
}

// One call at a time, and a copy of its answer: the service changes maps of volumes whose answers are still being
// sent, which ends a Go program.
type recorder struct {
	mutex sync.Mutex
	file  *os.File
}

func (r *recorder) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	reply, err := handle(ctx, request)
	if r.file != nil {
		r.write(info.FullMethod, request.(proto.Message), err)
	}
	if err != nil {
		return nil, err
	}
	return proto.Clone(reply.(proto.Message)), nil
}

func (r *recorder) write(method string, request proto.Message, err error) {
	made := call{Method: method}
	if err != nil {
		made.Error = err.Error()
	}
	text, failed := protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
	if failed != nil {
		log.Fatal(failed)
	}
	made.Request = text
	if failed := json.NewEncoder(r.file).Encode(made); failed != nil {
		log.Fatal(failed)
	}
}

func main() {
	endpoint := flag.String("endpoint", "", "path of the socket")
	calls := flag.String("calls", "", "file that each call is written to")
	config := service.Config{}
	flag.StringVar(&config.DriverName, "name", service.Name, "name of the driver, and of its node")
	flag.BoolVar(&config.EnableTopology, "topology", false, "volumes are at its one node")
	flag.BoolVar(&config.DisableAttach, "disable-attach", false, "nothing is attached")
	flag.BoolVar(&config.NodeExpansionRequired, "node-expand-required", false, "growth ends on the node")
	flag.BoolVar(&config.DisableOnlineExpansion, "disable-online-expansion", false, "what is attached does not grow")
	flag.BoolVar(&config.DisableControllerExpansion, "disable-controller-expansion", false, "nothing grows")
	flag.Int64Var(&config.AttachLimit, "attach-limit", 0, "how many volumes a node takes; 0: any number")
	flag.Parse()
	r := &recorder{}
	if *calls != "" {
		file, err := os.OpenFile(*calls, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		r.file = file
	}
	listener, err := net.Listen("unix", *endpoint)
	if err != nil {
		log.Fatal(err)
	}
	mock := service.New(config)
	server := grpc.NewServer(grpc.UnaryInterceptor(r.intercept))
	csi.RegisterIdentityServer(server, mock)
	csi.RegisterControllerServer(server, mock)
	csi.RegisterNodeServer(server, mock)
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ends
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
