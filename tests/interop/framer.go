// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client that may break every rule.
type peer struct {
	conn  net.Conn
	fr    *http2.Framer
	enc   *hpack.Encoder
	block bytes.Buffer
}

func newPeer(settings ...http2.Setting) *peer {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		panic(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	p := &peer{conn: conn, fr: http2.NewFramer(conn, conn)}
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.fr.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.block)
	p.fr.WriteSettings(settings...)
	return p
}

func (p *peer) close() { p.conn.Close() }

func (p *peer) encode(kv ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(kv); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return append([]byte(nil), p.block.Bytes()...)
}

func requestHeaders(method string, more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":path", "/interop.Test/" + method, ":authority", "localhost",
		"content-type", "application/grpc", "te", "trailers"}, more...)
}

func (p *peer) open(id uint32, end bool, kv ...string) {
	p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(kv...), EndStream: end, EndHeaders: true})
}

func message(body []byte) []byte {
	b := make([]byte, 5+len(body))
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)))
	copy(b[5:], body)
	return b
}

// reply is what came on one stream until its end.
type reply struct {
	headers map[string]string // headers and trailers together
	data    []byte
	reset   *http2.ErrCode
}

// wait reads until the stream ends; a GOAWAY or a closed connection is the error.
func (p *peer) wait(id uint32) (*reply, error) {
	r := &reply{headers: map[string]string{}}
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return r, fmt.Errorf("connection: %w", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.fr.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return r, goAway{f.ErrCode}
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			for _, h := range f.Fields {
				r.headers[h.Name] = h.Value
			}
			if f.StreamEnded() {
				return r, nil
			}
		case *http2.DataFrame:
			if f.StreamID != id {
				continue
			}
			r.data = append(r.data, f.Data()...)
			if f.StreamEnded() {
				return r, nil
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				r.reset = &f.ErrCode
				return r, nil
			}
		}
	}
}

type goAway struct{ code http2.ErrCode }

func (g goAway) Error() string { return "GOAWAY " + g.code.String() }

func wantStatus(r *reply, err error, http, grpc string) error {
	if err != nil {
		return err
	}
	if r.reset != nil {
		return fmt.Errorf("stream reset: %v", *r.reset)
	}
	if r.headers[":status"] != http || r.headers["grpc-status"] != grpc {
		return fmt.Errorf("want HTTP %s and grpc-status %s, got %v", http, grpc, r.headers)
	}
	return nil
}

// oneCall sends headers and raw body bytes and expects a status.
func oneCall(http, grpc string, headers []string, body []byte) func() error {
	return func() error {
		p := newPeer()
		defer p.close()
		p.open(1, body == nil, headers...)
		if body != nil {
			p.fr.WriteData(1, true, body)
		}
		r, err := p.wait(1)
		return wantStatus(r, err, http, grpc)
	}
}

// breaks does something forbidden to the connection and wants GOAWAY with one of the codes, or a close.
func breaks(do func(p *peer), codes ...http2.ErrCode) func() error {
	return func() error {
		p := newPeer()
		defer p.close()
		do(p)
		_, err := p.wait(1<<31 - 1)
		if g, ok := err.(goAway); ok {
			for _, c := range codes {
				if g.code == c {
					return alive()
				}
			}
			return fmt.Errorf("wrong code: %v", g)
		}
		if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
			return fmt.Errorf("server said nothing")
		}
		if err != nil && strings.Contains(err.Error(), "i/o timeout") {
			return fmt.Errorf("server said nothing")
		}
		if len(codes) > 0 {
			return fmt.Errorf("closed without GOAWAY: %v", err)
		}
		return alive()
	}
}

// resets breaks one stream and wants it reset, the connection living on.
func resets(code http2.ErrCode, do func(p *peer)) func() error {
	return func() error {
		p := newPeer()
		defer p.close()
		do(p)
		r, err := p.wait(1)
		if err != nil {
			return err
		}
		if r.reset == nil || *r.reset != code {
			return fmt.Errorf("want RST %v, got %v %v", code, r.reset, r.headers)
		}
		p.open(3, false, requestHeaders("Echo")...)
		p.fr.WriteData(3, true, message([]byte("x")))
		r, err = p.wait(3)
		return wantStatus(r, err, "200", "0")
	}
}

func alive() error { return echo("Echo", 10) }

func tinyWindow() error {
	p := newPeer(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	defer p.close()
	p.open(1, false, requestHeaders("Echo")...)
	p.fr.WriteData(1, true, message(bytes.Repeat([]byte("a"), 30)))
	got := 0
	for got < 35 {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.fr.WriteSettingsAck()
			}
		case *http2.DataFrame:
			got += len(f.Data())
			if got > 10 && len(f.Data()) > 25 {
				return fmt.Errorf("%d bytes in a window of 10", got)
			}
			if got == 10 {
				p.fr.WriteWindowUpdate(1, 25)
			}
		}
	}
	r, err := p.wait(1)
	r.headers[":status"] = "200"
	return wantStatus(r, err, "200", "0")
}

func tooManyStreams() error {
	p := newPeer()
	defer p.close()
	// Until the server's SETTINGS are acknowledged its limit is not yet binding for us.
	for acked := false; !acked; {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return err
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			if n, ok := s.Value(http2.SettingMaxConcurrentStreams); !ok || n != 256 {
				return fmt.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS is %d", n)
			}
			acked = true
		}
	}
	for i := uint32(0); i < 300; i++ {
		p.open(2*i+1, false, requestHeaders("Echo")...)
	}
	refused := uint32(0)
	for refused < 44 {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return fmt.Errorf("after %d refused: %w", refused, err)
		}
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			if r.ErrCode != http2.ErrCodeRefusedStream || r.StreamID < 513 {
				return fmt.Errorf("stream %d: %v", r.StreamID, r.ErrCode)
			}
			refused++
		}
	}
	return alive()
}

func flood(write func(p *peer, i int) error) func() error {
	return func() error {
		p := newPeer()
		defer p.close()
		go io.Copy(io.Discard, p.conn)
		for i := 0; i < 20000; i++ {
			if write(p, i) != nil {
				break // cut off, as it should be
			}
		}
		return alive()
	}
}

func addFramerChecks() {
	grpcError := func(name, status string, body []byte) {
		add(name, oneCall("200", status, requestHeaders("Echo"), body))
	}
	add("preface that is not HTTP/2 closes the connection", func() error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			return err
		}
		return alive()
	})
	add("PING is answered", func() error {
		p := newPeer()
		defer p.close()
		p.fr.WritePing(false, [8]byte{1, 2, 3})
		for {
			f, err := p.fr.ReadFrame()
			if err != nil {
				return err
			}
			if g, ok := f.(*http2.PingFrame); ok && g.IsAck() && g.Data[2] == 3 {
				return nil
			}
		}
	})
	add("content-type application/grpc+proto", oneCall("200", "0", append(requestHeaders("Echo")[:8], "content-type", "application/grpc+proto", "te", "trailers"), message(nil)))
	add("GET is 405", oneCall("405", "13", append([]string{":method", "GET"}, requestHeaders("Echo")[2:]...), nil))
	add("wrong content-type is 415", oneCall("415", "3", append(requestHeaders("Echo")[:8], "content-type", "application/json"), message(nil)))
	add("no content-type is 415", oneCall("415", "3", requestHeaders("Echo")[:8], message(nil)))
	for _, t := range []string{"abc", "100", "123456789S", "-1S", "5X", ""} {
		add(fmt.Sprintf("grpc-timeout %q is 400", t), oneCall("400", "13", requestHeaders("Echo", "grpc-timeout", t), message(nil)))
	}
	add("server keeps the deadline of a silent client", oneCall("200", "4", requestHeaders("Slow", "grpc-timeout", "50m"), message(nil)))
	add("unknown encoding is UNIMPLEMENTED", oneCall("200", "12", requestHeaders("Echo", "grpc-encoding", "snappy"), message(nil)))
	add("identity encoding", oneCall("200", "0", requestHeaders("Echo", "grpc-encoding", "identity"), message([]byte("x"))))
	grpcError("compressed flag without encoding is INTERNAL", "13", []byte{1, 0, 0, 0, 1, 'x'})
	grpcError("truncated prefix is INTERNAL", "13", []byte{0, 0, 0})
	grpcError("truncated message is INTERNAL", "13", []byte{0, 0, 0, 0, 9, 'x'})
	grpcError("two messages are INTERNAL", "13", append(message([]byte("a")), message([]byte("b"))...))
	grpcError("length of 4 GiB is RESOURCE_EXHAUSTED", "8", []byte{0, 255, 255, 255, 255, 'x'})
	add("no message is INTERNAL", oneCall("200", "13", requestHeaders("Echo"), nil))
	add("message in frames of one byte", func() error {
		p := newPeer()
		defer p.close()
		p.open(1, false, requestHeaders("Echo")...)
		m := message([]byte("hello"))
		for i := range m {
			p.fr.WriteData(1, i == len(m)-1, m[i:i+1])
		}
		r, err := p.wait(1)
		if !bytes.Equal(r.data, m) {
			return fmt.Errorf("got %q %v", r.data, err)
		}
		return wantStatus(r, err, "200", "0")
	})
	add("padded DATA and request trailers", func() error {
		p := newPeer()
		defer p.close()
		p.open(1, false, requestHeaders("Echo")...)
		p.fr.WriteDataPadded(1, false, message([]byte("x")), make([]byte, 50))
		p.open(1, true, "x-trailer", "1")
		r, err := p.wait(1)
		return wantStatus(r, err, "200", "0")
	})
	add("peer's window of 10 octets", tinyWindow)
	add("streams from the 257th are REFUSED_STREAM", tooManyStreams)
	add("unknown frame type is ignored", func() error {
		p := newPeer()
		defer p.close()
		p.fr.WriteRawFrame(0x77, 0, 0, []byte("hello"))
		p.open(1, false, requestHeaders("Echo")...)
		p.fr.WriteData(1, true, message(nil))
		r, err := p.wait(1)
		return wantStatus(r, err, "200", "0")
	})
	add("upper-case header name resets the stream", resets(http2.ErrCodeProtocol, func(p *peer) {
		p.open(1, false, requestHeaders("Echo", "X-Upper", "1")...)
	}))
	add("connection header resets the stream", resets(http2.ErrCodeProtocol, func(p *peer) {
		p.open(1, false, requestHeaders("Echo", "connection", "close")...)
	}))
	add("missing :path resets the stream", resets(http2.ErrCodeProtocol, func(p *peer) {
		p.open(1, false, ":method", "POST", ":scheme", "http", "content-type", "application/grpc")
	}))
	add("te other than trailers resets the stream", resets(http2.ErrCodeProtocol, func(p *peer) {
		p.open(1, false, append(requestHeaders("Echo")[:10], "te", "gzip")...)
	}))
	add("false content-length resets the stream", resets(http2.ErrCodeProtocol, func(p *peer) {
		p.open(1, false, requestHeaders("Echo", "content-length", "3")...)
		p.fr.WriteData(1, true, message([]byte("more than three")))
	}))
	add("WINDOW_UPDATE of 0 is an error", breaks(func(p *peer) { p.fr.WriteWindowUpdate(0, 0) }, http2.ErrCodeProtocol))
	add("window beyond 2^31-1 is an error", breaks(func(p *peer) {
		p.fr.WriteWindowUpdate(0, 1<<31-1)
	}, http2.ErrCodeFlowControl))
	add("DATA on stream 0 is an error", breaks(func(p *peer) { p.fr.WriteRawFrame(http2.FrameData, 0, 0, []byte("x")) }, http2.ErrCodeProtocol))
	add("DATA on an idle stream is an error", breaks(func(p *peer) { p.fr.WriteData(7, true, []byte("x")) }, http2.ErrCodeProtocol, http2.ErrCodeStreamClosed))
	add("even stream id is an error", breaks(func(p *peer) { p.open(2, true, requestHeaders("Echo")...) }, http2.ErrCodeProtocol))
	// RFC 9113 §5.1.1 closes it implicitly; nghttp2 ignores what comes on a closed stream.
	add("stream id that goes back is no request", func() error {
		p := newPeer()
		defer p.close()
		p.open(5, true, requestHeaders("Stats")...)
		p.open(3, false, requestHeaders("Echo")...)
		p.fr.WriteData(3, true, message([]byte("x")))
		p.open(7, false, requestHeaders("Echo")...)
		p.fr.WriteData(7, true, message([]byte("y")))
		for {
			f, err := p.fr.ReadFrame()
			if _, closed := err.(http2.ConnectionError); closed || err == io.EOF {
				return alive()
			}
			if err != nil {
				return err
			}
			if d, ok := f.(*http2.DataFrame); ok && d.StreamID == 3 {
				return fmt.Errorf("was served")
			}
			if d, ok := f.(*http2.DataFrame); ok && d.StreamID == 7 {
				return nil
			}
			if _, ok := f.(*http2.GoAwayFrame); ok {
				return alive()
			}
		}
	})
	add("broken HPACK is an error", breaks(func(p *peer) {
		p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
	}, http2.ErrCodeCompression))
	add("frame over the maximum size is an error", breaks(func(p *peer) {
		p.fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<17))
	}, http2.ErrCodeFrameSize))
	add("PING of 7 octets is an error", breaks(func(p *peer) { p.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }, http2.ErrCodeFrameSize))
	add("SETTINGS with a bad value is an error", breaks(func(p *peer) {
		p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})
	}, http2.ErrCodeProtocol))
	add("PUSH_PROMISE of a client is an error", breaks(func(p *peer) {
		p.open(1, false, requestHeaders("Echo")...)
		p.fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.encode(requestHeaders("Echo")...), EndHeaders: true})
	}, http2.ErrCodeProtocol))
	add("CONTINUATION without HEADERS is an error", breaks(func(p *peer) { p.fr.WriteContinuation(1, true, nil) }, http2.ErrCodeProtocol))
	add("header list over 64 KiB is refused", func() error {
		p := newPeer()
		defer p.close()
		kv := requestHeaders("Echo")
		for i := 0; i < 70; i++ {
			kv = append(kv, fmt.Sprintf("x-%d", i), strings.Repeat("y", 1000))
		}
		block := p.encode(kv...)
		p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000]})
		for block = block[16000:]; len(block) > 16000; block = block[16000:] {
			p.fr.WriteContinuation(1, false, block[:16000])
		}
		p.fr.WriteContinuation(1, true, block)
		r, err := p.wait(1)
		if err == nil && r.reset == nil && r.headers["grpc-status"] == "0" {
			return fmt.Errorf("was taken: %v", r.headers)
		}
		return alive()
	})
	add("PING flood", flood(func(p *peer, i int) error { return p.fr.WritePing(false, [8]byte{}) }))
	add("SETTINGS flood", flood(func(p *peer, i int) error { return p.fr.WriteSettings() }))
	add("rapid reset", flood(func(p *peer, i int) error {
		p.open(uint32(2*i+1), true, requestHeaders("Echo")...)
		return p.fr.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	}))
	add("CONTINUATION flood", flood(func(p *peer, i int) error {
		if i == 0 {
			return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(requestHeaders("Echo")...)})
		}
		return p.fr.WriteContinuation(1, false, p.encode("x", strings.Repeat("y", 1000)))
	}))
	add("connection dropped in the middle of a message", func() error {
		p := newPeer()
		p.open(1, false, requestHeaders("Echo")...)
		p.fr.WriteData(1, false, []byte{0, 0, 0, 1, 0, 'x'})
		p.close()
		return alive()
	})
}
