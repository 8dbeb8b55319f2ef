// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// goServer is what our client meets: grpc-go with methods whose behaviour the checks know.
type goServer struct {
	*grpc.Server
	listener net.Listener
	held     chan struct{} // told when a Hold begins
	release  chan struct{} // closed to let Holds end
	ended    atomic.Int32  // Slow and Stream calls that saw their context end
	deadline atomic.Bool   // the last Slow had a deadline
}

func unary(name string, fn func(s *goServer, ctx context.Context, req []byte) ([]byte, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error,
		_ grpc.UnaryServerInterceptor) (any, error) {
		var req []byte
		if err := dec(&req); err != nil {
			return nil, err
		}
		reply, err := fn(srv.(*goServer), ctx, req)
		return &reply, err
	}}
}

func (s *goServer) stream(_ any, stream grpc.ServerStream) error {
	var spec []byte
	var count, size int
	if err := stream.RecvMsg(&spec); err != nil {
		return err
	}
	fmt.Sscanf(string(spec), "%d:%d", &count, &size)
	message := make([]byte, size)
	for range count {
		if err := stream.SendMsg(&message); err != nil {
			s.ended.Add(1)
			return err
		}
	}
	return nil
}

// sum receives all and says how many there were; pause is the time that each takes.
func (s *goServer) sum(stream grpc.ServerStream, pause time.Duration) error {
	count, size := 0, 0
	for {
		var m []byte
		err := stream.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			reply := []byte(fmt.Sprintf("%d %d", count, size))
			return stream.SendMsg(&reply)
		}
		if err != nil {
			s.ended.Add(1)
			return err
		}
		count, size = count+1, size+len(m)
		time.Sleep(pause)
	}
}

// chat sends each message back, most of them at most.
func (s *goServer) chat(stream grpc.ServerStream, most int, pause time.Duration) error {
	for range most {
		var m []byte
		err := stream.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.ended.Add(1)
			return err
		}
		time.Sleep(pause)
		if err := stream.SendMsg(&m); err != nil {
			s.ended.Add(1)
			return err
		}
	}
	return nil
}

func streams(name string, fn func(stream grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error { return fn(stream) }}
}

func newGoServer(network, address string, opts ...grpc.ServerOption) *goServer {
	l, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	s := &goServer{listener: l, held: make(chan struct{}, 1000), release: make(chan struct{})}
	s.Server = grpc.NewServer(append(opts, grpc.ForceServerCodec(raw{}))...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "interop.Test",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("Echo", func(_ *goServer, _ context.Context, req []byte) ([]byte, error) { return req, nil }),
			unary("Big", func(*goServer, context.Context, []byte) ([]byte, error) { return make([]byte, 5<<20), nil }),
			unary("Fail", func(*goServer, context.Context, []byte) ([]byte, error) {
				return nil, status.Error(codes.FailedPrecondition, "größe: 100% ✓")
			}),
			unary("Slow", func(s *goServer, ctx context.Context, _ []byte) ([]byte, error) {
				_, has := ctx.Deadline()
				s.deadline.Store(has)
				<-ctx.Done()
				s.ended.Add(1)
				return nil, ctx.Err()
			}),
			unary("Hold", func(s *goServer, ctx context.Context, _ []byte) ([]byte, error) {
				s.held <- struct{}{}
				<-s.release
				return []byte("held"), nil
			}),
			unary("Metadata", func(_ *goServer, ctx context.Context, _ []byte) ([]byte, error) {
				return []byte(strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), ",")), nil
			}),
		},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.stream(nil, stream) }},
			streams("Sum", func(stream grpc.ServerStream) error { return s.sum(stream, 0) }),
			streams("SlowSum", func(stream grpc.ServerStream) error { return s.sum(stream, 2*time.Millisecond) }),
			streams("Chat", func(stream grpc.ServerStream) error { return s.chat(stream, 1<<30, 0) }),
			streams("SlowChat", func(stream grpc.ServerStream) error { return s.chat(stream, 1<<30, 5*time.Millisecond) }),
			streams("LeaveEarly", func(stream grpc.ServerStream) error { return s.chat(stream, 2, 0) }),
		},
	}, s)
	go s.Serve(l)
	return s
}

func (s *goServer) waitEnded(n int32) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s.ended.Load() >= n {
			return nil
		}
	}
	return fmt.Errorf("server's handler still runs")
}

// ourClient is a running interop_client.
type ourClient struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func newOurClient(args ...string) *ourClient {
	c := &ourClient{process: exec.Command(clientBinary, args...)}
	c.process.Stderr = os.Stderr
	in, err := c.process.StdinPipe()
	if err != nil {
		panic(err)
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := c.process.Start(); err != nil {
		panic(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c
}

func (c *ourClient) tell(format string, a ...any) { fmt.Fprintf(c.in, format+"\n", a...) }

func (c *ourClient) want(code codes.Code, number int, text string) error {
	var gotCode, gotNumber int
	line, err := c.out.ReadString('\n')
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(line, "%d %d", &gotCode, &gotNumber); err != nil {
		return err
	}
	if codes.Code(gotCode) != code || number >= 0 && gotNumber != number || !strings.Contains(line, text) {
		return fmt.Errorf("want %v %d %q, got %q", code, number, text, strings.TrimSpace(line))
	}
	return nil
}

// close also wants the client to end well: built with a sanitizer it tells its finds here.
func (c *ourClient) close() error {
	c.in.Close()
	return c.process.Wait()
}

// ours adds a check of our client against a fresh server on a fresh socket.
func ours(name string, run func(s *goServer, c *ourClient, address string) error, opts ...grpc.ServerOption) {
	add("client: "+name, func() error {
		dir, err := os.MkdirTemp("", "cleat-interop-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		address := filepath.Join(dir, "go.sock")
		s := newGoServer("unix", address, opts...)
		defer s.Stop()
		c := newOurClient("unix://" + address)
		err = run(s, c, address)
		if ended := c.close(); err == nil {
			err = ended
		}
		return err
	})
}

// one command, one answer.
func told(command string, code codes.Code, number int, text string) func(*goServer, *ourClient, string) error {
	return func(_ *goServer, c *ourClient, _ string) error {
		c.tell("%s", command)
		return c.want(code, number, text)
	}
}

func goesOnElsewhere(s *goServer, c *ourClient, address string) error {
	c2 := newOurClient("unix://" + address)
	defer c2.close()
	c.tell("call Hold 0 0")
	<-s.held
	c2.tell("call Echo 10 0")
	if err := c2.want(codes.OK, 10, ""); err != nil {
		return err
	}
	go s.GracefulStop() // removes the socket, says GOAWAY, waits for Hold
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(address); os.IsNotExist(err) {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("socket still there")
		}
	}
	next := newGoServer("unix", address)
	defer next.Stop()
	c2.tell("call Echo 11 0")
	if err := c2.want(codes.OK, 11, ""); err != nil {
		return fmt.Errorf("second client: %w", err)
	}
	close(s.release)
	if err := c.want(codes.OK, 4, ""); err != nil {
		return fmt.Errorf("held call: %w", err)
	}
	c.tell("call Echo 12 0")
	return c.want(codes.OK, 12, "")
}

func stopsUnderACall(s *goServer, c *ourClient, address string) error {
	c.tell("call Hold 0 0")
	<-s.held
	go s.Stop() // hangs up first
	if err := c.want(codes.Unavailable, -1, "go.sock"); err != nil {
		return err
	}
	close(s.release)
	c.tell("call Echo 1 2000")
	if err := c.want(codes.Unavailable, -1, "go.sock"); err != nil {
		return err
	}
	next := newGoServer("unix", address)
	defer next.Stop()
	c.tell("call Echo 1 0")
	return c.want(codes.OK, 1, "")
}

func pemFile(dir, name, kind string, der []byte) string {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		panic(err)
	}
	return path
}

// makeCertificates: one authority, one certificate that serves both sides.
func makeCertificates(dir string) (cert, key, ca string) {
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leafKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "interop"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: template.NotBefore, NotAfter: template.NotAfter}
	caDER, err := x509.CreateCertificate(rand.Reader, template, template, &caKey.PublicKey, caKey)
	if err != nil {
		panic(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, template, &leafKey.PublicKey, caKey)
	if err != nil {
		panic(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		panic(err)
	}
	return pemFile(dir, "tls.crt", "CERTIFICATE", leafDER), pemFile(dir, "tls.key", "PRIVATE KEY", keyDER),
		pemFile(dir, "ca.crt", "CERTIFICATE", caDER)
}

func mutualTLS() error {
	dir, err := os.MkdirTemp("", "cleat-interop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cert, key, ca := makeCertificates(dir)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	caPEM, _ := os.ReadFile(ca)
	pool.AppendCertsFromPEM(caPEM)
	s := newGoServer("tcp", "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair},
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})))
	defer s.Stop()
	c := newOurClient("tcp://"+s.listener.Addr().String(), cert, key, ca)
	c.tell("call Echo 300000 0")
	if err := c.want(codes.OK, 300000, ""); err != nil {
		return err
	}
	plain := newOurClient("tcp://" + s.listener.Addr().String())
	plain.tell("call Echo 1 5000")
	if err := plain.want(codes.Unavailable, -1, "127.0.0.1"); err != nil {
		return err
	}
	if err := plain.close(); err != nil {
		return err
	}
	return c.close()
}

func addOurClientChecks() {
	for _, size := range []int{0, 1, 100 << 10, 4 << 20} {
		ours(fmt.Sprintf("echo of %d bytes", size), told(fmt.Sprintf("call Echo %d 0", size), codes.OK, size, ""))
	}
	ours("request over 4 MiB is refused", told(fmt.Sprintf("call Echo %d 0", 4<<20+1), codes.ResourceExhausted, -1, "limit"))
	ours("reply over 4 MiB is refused", told("call Big 0 0", codes.ResourceExhausted, -1, "limit"))
	ours("status and its message", told("call Fail 0 0", codes.FailedPrecondition, -1, "größe: 100% ✓"))
	ours("unknown method", told("call Nope 0 0", codes.Unimplemented, -1, "Nope"))
	ours("deadline goes along and ends the handler", func(s *goServer, c *ourClient, _ string) error {
		c.tell("call Slow 0 100")
		if err := c.want(codes.DeadlineExceeded, -1, ""); err != nil {
			return err
		}
		if !s.deadline.Load() {
			return fmt.Errorf("the server knew of no deadline")
		}
		return s.waitEnded(1)
	})
	ours("cancel ends the handler", func(s *goServer, c *ourClient, _ string) error {
		c.tell("cancel Slow 50")
		if err := c.want(codes.Canceled, -1, ""); err != nil {
			return err
		}
		return s.waitEnded(1)
	})
	ours("stream of 5000 messages", told("stream 5000:1000 0", codes.OK, 5000, ""))
	ours("stream of messages larger than the window", told("stream 5:3000000 0", codes.OK, 5, ""))
	ours("leaving a stream stops its producer", func(s *goServer, c *ourClient, _ string) error {
		c.tell("stream 1000000:1000 3")
		if err := c.want(codes.Canceled, 3, ""); err != nil {
			return err
		}
		return s.waitEnded(1)
	})
	ours("client stream of 10000 messages", told("upload Sum,1000,0 10000 0", codes.OK, 10000, ""))
	ours("client stream of no message", told("upload Sum,0,0 0 0", codes.OK, 0, ""))
	ours("client stream of messages larger than the window", told("upload Sum,3000000,0 5 0", codes.OK, 5, ""))
	ours("client stream to a slow reader", told("upload SlowSum,20000,0 300 0", codes.OK, 300, ""))
	ours("client stream of a slow writer", told("upload Sum,10,5 50 0", codes.OK, 50, ""))
	ours("conversation of 10000 messages", told("chat Chat,100,0 10000 0", codes.OK, 10000, ""))
	ours("conversation with a slow server", told("chat SlowChat,100,0 50 0", codes.OK, 50, ""))
	ours("conversation of large messages", told("chat Chat,4194304,0 3 0", codes.OK, 3, ""))
	ours("server that leaves a conversation", told("chat LeaveEarly,10,0 5 0", codes.OutOfRange, 2, "ended"))
	ours("upload to a server that leaves", told("leave LeaveEarly,10,0 2 0", codes.OK, 2, ""))
	ours("leaving a conversation ends its handler", func(s *goServer, c *ourClient, _ string) error {
		c.tell("leave Chat,100,0 3 0")
		if err := c.want(codes.OK, 3, ""); err != nil {
			return err
		}
		return s.waitEnded(1)
	})
	ours("deadline in the middle of a conversation", func(s *goServer, c *ourClient, _ string) error {
		c.tell("chat SlowChat,100,0 100000 200")
		if err := c.want(codes.DeadlineExceeded, -1, ""); err != nil {
			return err
		}
		return s.waitEnded(1)
	})
	ours("metadata", told("metadata Bearer-abc 0", codes.OK, 10, "Bearer-abc"))
	ours("100 at once", told("many Echo 100", codes.OK, 100, ""))
	ours("100 at once where 4 streams are allowed", told("many Echo 100", codes.OK, 100, ""), grpc.MaxConcurrentStreams(4))
	ours("GOAWAY: the held call ends well, others go to the next server", goesOnElsewhere)
	ours("server gone under a call, and back", stopsUnderACall)
	add("client: mutual TLS", mutualTLS)
}
