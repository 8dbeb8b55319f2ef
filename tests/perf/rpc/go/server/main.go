// SPDX-License-Identifier: Apache-2.0

// Command server is the reference of tests/perf/rpc: a CSI driver's Probe and CreateVolume on grpc-go and the generated
// Go code of the CSI specification, with nothing behind them. ../../server.c does the same on our stack.
//
//	server SOCKET
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
}

func (driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (driver) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if req.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "name is missing")
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_capabilities is missing")
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           "bench-" + req.GetName(),
		CapacityBytes:      req.GetCapacityRange().GetRequiredBytes(),
		VolumeContext:      req.GetParameters(),
		AccessibleTopology: req.GetAccessibilityRequirements().GetPreferred(),
	}}, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: server SOCKET")
		os.Exit(2)
	}
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := grpc.NewServer()
	csi.RegisterIdentityServer(s, driver{})
	csi.RegisterControllerServer(s, driver{})
	if err := s.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
