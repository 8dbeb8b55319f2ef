// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// talk opens a stream of both kinds to one of the server's methods.
func talk(ctx context.Context, method string, do func(s grpc.ClientStream) error) error {
	conn := dial()
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/interop.Test/"+method)
	if err != nil {
		return err
	}
	return do(s)
}

func pattern(i, size int) []byte {
	m := make([]byte, size)
	for k := range m {
		m[k] = byte(i + k)
	}
	return m
}

func sendAll(s grpc.ClientStream, count, size int, pause time.Duration) error {
	for i := range count {
		m := pattern(i, size)
		if err := s.SendMsg(&m); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		time.Sleep(pause)
	}
	return s.CloseSend()
}

func receiveAll(s grpc.ClientStream, count, size int, pause time.Duration) error {
	for i := 0; ; i++ {
		var m []byte
		err := s.RecvMsg(&m)
		if errors.Is(err, io.EOF) && i == count {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d messages: %w", i, err)
		}
		if string(m) != string(pattern(i, size)) {
			return fmt.Errorf("message %d differs", i)
		}
		time.Sleep(pause)
	}
}

func upload(method string, count, size int, pause time.Duration) func() error {
	return func() error {
		return talk(context.Background(), method, func(s grpc.ClientStream) error {
			if err := sendAll(s, count, size, pause); err != nil {
				return err
			}
			var reply []byte
			if err := s.RecvMsg(&reply); err != nil {
				return err
			}
			if want := fmt.Sprintf("%d %d", count, count*size); string(reply) != want {
				return fmt.Errorf("want %q, got %q", want, reply)
			}
			return nil
		})
	}
}

// converse sends and receives at the same time.
func converse(count, size int, pauseSend, pauseReceive time.Duration) func() error {
	return func() error {
		return talk(context.Background(), "Chat", func(s grpc.ClientStream) error {
			sent := make(chan error, 1)
			go func() { sent <- sendAll(s, count, size, pauseSend) }()
			if err := receiveAll(s, count, size, pauseReceive); err != nil {
				return err
			}
			return <-sent
		})
	}
}

// exchange is one message there and back.
func exchange(s grpc.ClientStream) error {
	m := []byte("hello")
	if err := s.SendMsg(&m); err != nil {
		return err
	}
	return s.RecvMsg(&m)
}

// cut wants the server to notice that a conversation ended in the middle.
func cut(ctx context.Context, code codes.Code, do func(s grpc.ClientStream) error) error {
	before := stat("streams")
	err := talk(ctx, "Chat", func(s grpc.ClientStream) error {
		if err := exchange(s); err != nil {
			return err
		}
		return do(s)
	})
	if err := wantCode(err, code); err != nil {
		return err
	}
	return becomes("streams", before)
}

func lazyServer() error {
	// More than the windows and queues of both sides hold, and a handler that takes its time.
	before := stat("rss")
	if err := upload("SlowSum", 400, 50000, 0)(); err != nil {
		return err
	}
	if grown := stat("rss") - before; grown > 8<<10 {
		return fmt.Errorf("server took %d KiB for 20 MB", grown)
	}
	return nil
}

// broken sends a request stream that breaks gRPC's rules.
func broken(grpcStatus string, end bool, body []byte) func() error {
	return func() error {
		p := newPeer()
		defer p.close()
		p.open(1, false, requestHeaders("Sum")...)
		p.fr.WriteData(1, end, body)
		r, err := p.wait(1)
		return wantStatus(r, err, "200", grpcStatus)
	}
}

func addStreamChecks() {
	add("client stream of 10000 messages", upload("Sum", 10000, 1000, 0))
	add("client stream of no message", upload("Sum", 0, 0, 0))
	add("client stream of empty messages", upload("Sum", 100, 0, 0))
	add("client stream of messages larger than the window", upload("Sum", 5, 3<<20, 0))
	add("client stream of a slow writer", upload("Sum", 50, 10, 5*time.Millisecond))
	add("client stream to a slow reader costs no memory", lazyServer)
	add("conversation of 10000 messages", converse(10000, 100, 0, 0))
	add("conversation of a slow reader", converse(300, 20000, 0, 2*time.Millisecond))
	add("conversation of a slow writer", converse(50, 10, 5*time.Millisecond, 0))
	add("half close: what was sent comes back afterwards", func() error {
		return talk(context.Background(), "Chat", func(s grpc.ClientStream) error {
			if err := sendAll(s, 100, 1000, 0); err != nil {
				return err
			}
			return receiveAll(s, 100, 1000, 0)
		})
	})
	add("cancel ends a conversation's handler", func() error {
		ctx, cancel := context.WithCancel(context.Background())
		return cut(ctx, codes.Canceled, func(s grpc.ClientStream) error {
			cancel()
			var m []byte
			return s.RecvMsg(&m)
		})
	})
	add("deadline in the middle of a conversation", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		return cut(ctx, codes.DeadlineExceeded, func(s grpc.ClientStream) error {
			var m []byte
			return s.RecvMsg(&m)
		})
	})
	add("server ends a conversation before its client", func() error {
		return talk(context.Background(), "LeaveEarly", func(s grpc.ClientStream) error {
			if err := exchange(s); err != nil {
				return err
			}
			if err := exchange(s); err != nil {
				return err
			}
			var m []byte
			if err := s.RecvMsg(&m); !errors.Is(err, io.EOF) {
				return fmt.Errorf("want the end, got %v", err)
			}
			return nil
		})
	})
	add("compressed message in a stream is INTERNAL", broken("13", false, []byte{1, 0, 0, 0, 1, 'x'}))
	add("message of 4 GiB in a stream is RESOURCE_EXHAUSTED", broken("8", false, []byte{0, 255, 255, 255, 255, 'x'}))
	add("second message of 4 GiB too", broken("8", false, append(message([]byte("x")), 0, 255, 255, 255, 255)))
	add("stream that ends inside a prefix is INTERNAL", broken("13", true, []byte{0, 0, 0}))
	add("stream that ends inside a message is INTERNAL", broken("13", true, append(message([]byte("x")), 0, 0, 0, 0, 9, 'x')))
	add("stream in frames of one byte", func() error {
		p := newPeer()
		defer p.close()
		p.open(1, false, requestHeaders("Sum")...)
		m := append(message([]byte("hello")), message([]byte("world!"))...)
		for i := range m {
			p.fr.WriteData(1, i == len(m)-1, m[i:i+1])
		}
		r, err := p.wait(1)
		if err := wantStatus(r, err, "200", "0"); err != nil {
			return err
		}
		if string(r.data) != string(message([]byte("2 11"))) {
			return fmt.Errorf("reply %q", r.data)
		}
		return nil
	})
	add("reset in the middle of a stream's message", func() error {
		before := stat("streams")
		p := newPeer()
		defer p.close()
		p.open(1, false, requestHeaders("Sum")...)
		p.fr.WriteData(1, false, []byte{0, 0, 0, 0, 9, 'x'})
		p.fr.WritePing(false, [8]byte{})
		time.Sleep(50 * time.Millisecond) // the handler waits by then
		p.fr.WriteRSTStream(1, http2.ErrCodeCancel)
		return becomes("streams", before)
	})
	add("metadata reaches the handler", func() error {
		conn := dial()
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer abc")
		reply, err := call(ctx, conn, "Metadata", nil)
		if err == nil && string(reply) != "Bearer abc" {
			err = fmt.Errorf("reply %q", reply)
		}
		return err
	})
	add("metadata over 8 KiB is RESOURCE_EXHAUSTED", func() error {
		conn := dial()
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-long", strings.Repeat("a", 9000))
		_, err := call(ctx, conn, "Metadata", nil)
		return wantCode(err, codes.ResourceExhausted)
	})
}
