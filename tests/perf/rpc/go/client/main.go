// SPDX-License-Identifier: Apache-2.0

// Command client measures CSI servers against each other with grpc-go as the client.
//
//	client [-rounds N] [-time D] NAME=PROGRAM...
//
// It starts each PROGRAM with a socket path as its argument, and in each round drives every server with every load,
// one after the other and in turning order, so that whatever else the machine does falls on all alike. What counts is
// the CPU time of the server's threads (/proc/PID/task/*/schedstat) per call: unlike calls per second it hardly
// depends on how busy the machine is. The first server is held against the second. Exit 1: something failed; a missed
// target is printed, and is no failure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const (
	target = 0.25
	idle   = 2 * time.Second // from the start to what counts as idle
)

type server struct {
	name      string
	process   *exec.Cmd
	conn      *grpc.ClientConn
	idle      memory
	afterLoad memory
	cost      map[load][]float64 // CPU µs a call, one for each round
	rate      map[load][]float64 // calls a second
}

type memory struct{ pss, anonymous int } // KiB

type load struct {
	method   string
	inFlight int
}

func loads() []load {
	var all []load
	for _, method := range []string{"Probe", "CreateVolume"} {
		for _, n := range []int{1, 16, 64} {
			all = append(all, load{method, n})
		}
	}
	return all
}

// As external-provisioner sends it for a claim of a StorageClass with a few parameters; about 1 KiB.
func request() *csi.CreateVolumeRequest {
	topology := []*csi.Topology{{Segments: map[string]string{
		"pool.example.csi/fast":       "5f0c86ee-8a75-43ea-9dbd-ed2fd0ae35a5",
		"topology.kubernetes.io/zone": "rack-17",
	}}}
	return &csi.CreateVolumeRequest{
		Name:          "pvc-3d1d0bd5-7a5b-4bc2-9b6a-5d2f7e0d4c11",
		CapacityRange: &csi.CapacityRange{RequiredBytes: 10 << 30, LimitBytes: 20 << 30},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{
				FsType: "ext4", MountFlags: []string{"noatime", "nodev"},
			}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		}},
		Parameters: map[string]string{
			"csi.storage.k8s.io/pvc/name":      "data-postgres-0",
			"csi.storage.k8s.io/pvc/namespace": "production-databases",
			"csi.storage.k8s.io/pv/name":       "pvc-3d1d0bd5-7a5b-4bc2-9b6a-5d2f7e0d4c11",
			"pool":                             "fast",
			"allocation":                       "thick",
			"note":                             strings.Repeat("a line of sixty-three characters that a person has written, ", 6),
		},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: topology, Preferred: topology},
	}
}

func (s *server) call(method string, req *csi.CreateVolumeRequest) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if method == "Probe" {
		reply, err := csi.NewIdentityClient(s.conn).Probe(ctx, &csi.ProbeRequest{})
		if err == nil && !reply.GetReady().GetValue() {
			err = fmt.Errorf("%s: not ready", s.name)
		}
		return err
	}
	reply, err := csi.NewControllerClient(s.conn).CreateVolume(ctx, req)
	if err != nil {
		return err
	}
	v := reply.GetVolume()
	if v.GetVolumeId() != "bench-"+req.GetName() || v.GetCapacityBytes() != 10<<30 ||
		len(v.GetVolumeContext()) != len(req.GetParameters()) || len(v.GetAccessibleTopology()) != 1 {
		return fmt.Errorf("%s: CreateVolume answered %v", s.name, reply)
	}
	return nil
}

func start(name, program, dir string) (*server, error) {
	socket := filepath.Join(dir, name+".sock")
	s := &server{name: name, cost: map[load][]float64{}, rate: map[load][]float64{}}
	s.process = exec.Command(program, socket)
	s.process.Stderr = os.Stderr
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	var err error
	s.conn, err = grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err == nil {
		err = s.call("Probe", nil)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *server) stop() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.process.Process.Kill()
	s.process.Wait()
}

func (s *server) memory() (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.process.Process.Pid))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "Pss:":
			m.pss, _ = strconv.Atoi(fields[1])
		case "Anonymous:":
			m.anonymous, _ = strconv.Atoi(fields[1])
		}
	}
	return m, err
}

// CPU time of all threads so far, in ns. Neither server ends a thread that was used within the last minute.
func (s *server) cpu() (sum int64, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.process.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("%s: has ended", s.name)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += ns
	}
	return sum, nil
}

func (s *server) drive(l load, duration time.Duration, req *csi.CreateVolumeRequest) (calls int64, err error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	failures := make(chan error, l.inFlight)
	end := time.Now().Add(duration)
	for range l.inFlight {
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := s.call(l.method, req); err != nil {
					failures <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err = <-failures:
	default:
	}
	return done.Load(), err
}

func (s *server) measure(l load, duration time.Duration, req *csi.CreateVolumeRequest) error {
	if _, err := s.drive(l, duration/10, req); err != nil {
		return err
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	calls, err := s.drive(l, duration, req)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := s.cpu()
	if err != nil {
		return err
	}
	s.cost[l] = append(s.cost[l], float64(after-before)/1000/float64(calls))
	s.rate[l] = append(s.rate[l], float64(calls)/took.Seconds())
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// The median of each round's own ratio: both sides of it had the same neighbours.
func ratio(a, b []float64) float64 {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return median(all)
}

func verdict(what string, value float64) {
	met := "met"
	if value > target {
		met = "NOT MET"
	}
	fmt.Printf("  %-52s %5.2f  target <= %.2f  %s\n", what, value, target, met)
}

func report(a, b *server, rounds int, size int) {
	fmt.Printf("gRPC over a unix socket, grpc-go client, median [least] of %d rounds; CreateVolume's request: %d bytes\n\n",
		rounds, size)
	fmt.Printf("  %-30s %18s %18s %7s %19s\n", "server CPU us a call", a.name, b.name, "ratio", "calls/s (noisy)")
	for _, l := range loads() {
		x, y := a.cost[l], b.cost[l]
		fmt.Printf("  %-12s %2d in flight  %9.1f [%6.1f] %9.1f [%6.1f] %7.2f %9.0f %9.0f\n", l.method, l.inFlight,
			median(x), slices.Min(x), median(y), slices.Min(y), ratio(x, y), median(a.rate[l]), median(b.rate[l]))
	}
	row := func(what string, x, y int) {
		fmt.Printf("  %-30s %18d %18d %7.2f\n", what, x, y, float64(x)/float64(y))
	}
	fmt.Println()
	row("anonymous memory at rest, KiB", a.idle.anonymous, b.idle.anonymous)
	row("  after the load", a.afterLoad.anonymous, b.afterLoad.anonymous)
	row("PSS at rest, KiB", a.idle.pss, b.idle.pss)
	row("  after the load", a.afterLoad.pss, b.afterLoad.pss)
	fmt.Println()
	for _, l := range loads() {
		if l.inFlight == 16 {
			verdict("CPU a "+l.method+", 16 in flight, against "+b.name, ratio(a.cost[l], b.cost[l]))
		}
	}
	verdict("anonymous memory after the load against "+b.name, float64(a.afterLoad.anonymous)/float64(b.afterLoad.anonymous))
}

func run() error {
	rounds := flag.Int("rounds", 7, "how often each load is put on each server")
	duration := flag.Duration("time", 300*time.Millisecond, "how long each time")
	flag.Parse()
	if flag.NArg() != 2 {
		return fmt.Errorf("usage: client [-rounds N] [-time D] NAME=PROGRAM NAME=PROGRAM")
	}
	dir, err := os.MkdirTemp("", "cleat-rpc-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var servers []*server
	for _, arg := range flag.Args() {
		name, program, _ := strings.Cut(arg, "=")
		s, err := start(name, program, dir)
		if err != nil {
			return err
		}
		defer s.stop()
		servers = append(servers, s)
	}
	time.Sleep(idle)
	for _, s := range servers {
		if s.idle, err = s.memory(); err != nil {
			return err
		}
	}
	req := request()
	for range *rounds {
		for _, l := range loads() {
			for _, s := range servers {
				if err := s.measure(l, *duration, req); err != nil {
					return err
				}
			}
			slices.Reverse(servers)
		}
		// An even number of loads: reversed once more, so that the order of each load turns too.
		slices.Reverse(servers)
	}
	for _, s := range servers {
		if s.afterLoad, err = s.memory(); err != nil {
			return err
		}
	}
	first, _, _ := strings.Cut(flag.Arg(0), "=")
	if servers[0].name != first {
		slices.Reverse(servers)
	}
	report(servers[0], servers[1], *rounds, proto.Size(req))
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests/perf/rpc:", err)
		os.Exit(1)
	}
}
