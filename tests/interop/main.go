// SPDX-License-Identifier: Apache-2.0

// Conformance of the gRPC server with grpc-go as client and with a raw HTTP/2 framer, and of the client with grpc-go as
// server; and of messages with Go's implementation: interop SERVER-BINARY CLIENT-BINARY MESSAGE-BINARY DESCRIPTORS. One line a check, then "N passed, N failed, 0 skipped".
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type check struct {
	name string
	run  func() error
}

var (
	socket       string
	clientBinary string
	checks       []check
	server       *exec.Cmd
)

func add(name string, run func() error) { checks = append(checks, check{name, run}) }

func startServer(binary, dir string) error {
	socket = filepath.Join(dir, "s.sock")
	server = exec.Command(binary, "unix://"+socket)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "listening") {
		return fmt.Errorf("server did not start: %q %v", line, err)
	}
	return nil
}

func runOne(c check) (err error) {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- c.run()
	}()
	select {
	case err = <-done:
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no answer within 30 s")
	}
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: interop SERVER-BINARY CLIENT-BINARY MESSAGE-BINARY DESCRIPTORS")
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "cleat-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	if err := startServer(os.Args[1], dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	clientBinary = os.Args[2]
	if err := addMessages(os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	addOurClientChecks()
	addClientChecks()
	addStreamChecks()
	addFramerChecks()
	addDrainCheck()
	passed, failed := 0, 0
	for _, c := range checks {
		if err := runOne(c); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", c.name, err)
		} else {
			passed++
			fmt.Printf("ok   %s\n", c.name)
		}
	}
	server.Process.Signal(syscall.SIGKILL)
	fmt.Printf("%d passed, %d failed, 0 skipped\n", passed, failed)
	if failed > 0 {
		os.RemoveAll(dir)
		os.Exit(1)
	}
}
