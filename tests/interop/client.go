// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// raw carries messages as the bytes they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

func dial() *grpc.ClientConn {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(32<<20), grpc.MaxCallSendMsgSize(32<<20)))
	if err != nil {
		panic(err)
	}
	return conn
}

func call(ctx context.Context, conn *grpc.ClientConn, method string, req []byte, opts ...grpc.CallOption) ([]byte, error) {
	var reply []byte
	err := conn.Invoke(ctx, "/interop.Test/"+method, &req, &reply, opts...)
	return reply, err
}

func callOnce(method string, req []byte, opts ...grpc.CallOption) ([]byte, error) {
	conn := dial()
	defer conn.Close()
	return call(context.Background(), conn, method, req, opts...)
}

func wantCode(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("want %v, got %v", code, err)
	}
	return nil
}

func stat(key string) int {
	var slow, streams, rss int
	reply, err := callOnce("Stats", nil)
	if err != nil {
		panic(err)
	}
	fmt.Sscanf(string(reply), "slow=%d streams=%d rss=%d", &slow, &streams, &rss)
	return map[string]int{"slow": slow, "streams": streams, "rss": rss}[key]
}

// becomes waits until a counter of the server has grown.
func becomes(key string, before int) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if stat(key) > before {
			return nil
		}
	}
	return fmt.Errorf("server never noticed (%s stays %d)", key, before)
}

func echo(method string, size int) error {
	req := make([]byte, size)
	for i := range req {
		req[i] = byte(i * 7)
	}
	reply, err := callOnce(method, req)
	if err != nil {
		return err
	}
	if !bytes.Equal(req, reply) {
		return fmt.Errorf("reply of %d bytes differs from request of %d", len(reply), size)
	}
	return nil
}

func openStream(ctx context.Context, conn *grpc.ClientConn, spec string) (grpc.ClientStream, error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/interop.Test/Stream")
	if err != nil {
		return nil, err
	}
	req := []byte(spec)
	if err := s.SendMsg(&req); err != nil {
		return nil, err
	}
	return s, s.CloseSend()
}

func readStream(count, size int) error {
	conn := dial()
	defer conn.Close()
	s, err := openStream(context.Background(), conn, fmt.Sprintf("%d %d", count, size))
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		var m []byte
		err := s.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			if n != count {
				return fmt.Errorf("%d messages of %d", n, count)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if len(m) != size {
			return fmt.Errorf("message %d has %d bytes", n, len(m))
		}
	}
}

func parallel(method string, workers, each int) error {
	conn := dial()
	defer conn.Close()
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := 0; w < workers; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < each; i++ {
				if _, err := call(context.Background(), conn, method, []byte{byte(w), byte(i)}); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func cancelledStream() error {
	before := stat("streams")
	conn := dial()
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := openStream(ctx, conn, "1000000 1000")
	if err == nil {
		var m []byte
		err = s.RecvMsg(&m)
	}
	cancel()
	if err != nil {
		return err
	}
	return becomes("streams", before)
}

func stalledReader() error {
	before := stat("rss")
	conn := dial()
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := openStream(ctx, conn, "100000 10000")
	if err != nil {
		return err
	}
	var m []byte
	for i := 0; i < 10; i++ {
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
	}
	time.Sleep(300 * time.Millisecond) // give the producer time to run ahead, if it would
	grown := stat("rss") - before
	if grown > 8<<10 {
		return fmt.Errorf("server took %d KiB for a reader that stalls", grown)
	}
	return nil
}

func addClientChecks() {
	for _, size := range []int{0, 1, 16 << 10, 100 << 10, 1 << 20, 4<<20 - 200, 4 << 20} {
		add(fmt.Sprintf("echo of %d bytes", size), func() error { return echo("Echo", size) })
	}
	add("echo by a worker", func() error { return echo("EchoPooled", 1000) })
	for _, size := range []int{4<<20 + 1, 5 << 20, 20 << 20} {
		add(fmt.Sprintf("request of %d bytes is RESOURCE_EXHAUSTED", size), func() error {
			_, err := callOnce("Echo", make([]byte, size))
			return wantCode(err, codes.ResourceExhausted)
		})
	}
	add("oversized requests are not buffered", func() error {
		before := stat("rss")
		for i := 0; i < 5; i++ {
			callOnce("Echo", make([]byte, 20<<20))
		}
		if grown := stat("rss") - before; grown > 8<<10 {
			return fmt.Errorf("server took %d KiB for 100 MiB of refused requests", grown)
		}
		return nil
	})
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		add(fmt.Sprintf("status %v with its message", code), func() error {
			want := "größe: 100% ✓ \"x\""
			_, err := callOnce("Fail", append([]byte{byte(code)}, want...))
			if s := status.Convert(err); s.Code() != code || s.Message() != want {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
	}
	for _, m := range []string{"/interop.Test/Nope", "/no.Such/Echo"} {
		for _, size := range []int{0, 3 << 20} {
			add(fmt.Sprintf("%s with %d bytes is UNIMPLEMENTED", m, size), func() error {
				conn := dial()
				defer conn.Close()
				req, reply := make([]byte, size), []byte(nil)
				return wantCode(conn.Invoke(context.Background(), m, &req, &reply), codes.Unimplemented)
			})
		}
	}
	add("gzip request is UNIMPLEMENTED", func() error {
		_, err := callOnce("Echo", make([]byte, 1000), grpc.UseCompressor("gzip"))
		return wantCode(err, codes.Unimplemented)
	})
	add("client's deadline stops the handler", func() error {
		before := stat("slow")
		conn := dial()
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := call(ctx, conn, "Slow", nil)
		if err := wantCode(err, codes.DeadlineExceeded); err != nil {
			return err
		}
		return becomes("slow", before)
	})
	add("cancel stops the handler", func() error {
		before := stat("slow")
		conn := dial()
		defer conn.Close()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := call(ctx, conn, "Slow", nil)
		if err := wantCode(err, codes.Canceled); err != nil {
			return err
		}
		return becomes("slow", before)
	})
	add("disconnect stops the handler", func() error {
		before := stat("slow")
		conn := dial()
		time.AfterFunc(50*time.Millisecond, func() { conn.Close() })
		_, err := call(context.Background(), conn, "Slow", nil)
		if err == nil {
			return fmt.Errorf("call succeeded")
		}
		return becomes("slow", before)
	})
	add("stream of 10 messages", func() error { return readStream(10, 100) })
	add("stream of 5000 messages", func() error { return readStream(5000, 1000) })
	add("stream of no message", func() error { return readStream(0, 0) })
	add("stream of messages larger than the window", func() error { return readStream(5, 3<<20) })
	add("cancelled stream stops its producer", cancelledStream)
	add("stalled reader costs no memory", stalledReader)
	add("16 at once", func() error { return parallel("Echo", 16, 200) })
	add("100 at once by workers", func() error { return parallel("EchoPooled", 100, 20) })
}

func addDrainCheck() {
	add("SIGTERM: calls in flight end well, then exit 0", func() error {
		conn := dial()
		defer conn.Close()
		// grpc-go opens nothing more after a GOAWAY; the framer still may, until the second one.
		other := newPeer()
		defer other.close()
		held := make(chan error, 1)
		go func() {
			reply, err := call(context.Background(), conn, "Hold", nil)
			if err == nil && string(reply) != "held" {
				err = fmt.Errorf("reply %q", reply)
			}
			held <- err
		}()
		time.Sleep(100 * time.Millisecond) // let Hold arrive
		server.Process.Signal(syscall.SIGTERM)
		time.Sleep(20 * time.Millisecond)
		other.open(1, false, requestHeaders("Release")...)
		other.fr.WriteData(1, true, message(nil))
		r, err := other.wait(1)
		if err := wantStatus(r, err, "200", "0"); err != nil {
			return fmt.Errorf("call within the grace of the first GOAWAY: %w", err)
		}
		if err := <-held; err != nil {
			return fmt.Errorf("held call: %w", err)
		}
		other.close()
		conn.Close()
		if err := server.Wait(); err != nil {
			return fmt.Errorf("server ended with %w", err)
		}
		return nil
	})
}
