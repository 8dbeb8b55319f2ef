// SPDX-License-Identifier: Apache-2.0

// Every message of csi.proto with random content: our bytes are those of Go's implementation.

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const messageRounds = 300

// Absent when empty: CSI gives an empty one no meaning (tools/gen-messages, "implied").
var implied = map[protoreflect.FullName]bool{
	"csi.v1.CapacityRange":               true,
	"csi.v1.TopologyRequirement":         true,
	"csi.v1.VolumeCapability":            true,
	"csi.v1.VolumeCapability.AccessMode": true,
}

type filter struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

func startFilter(binary string) (*filter, error) {
	f := &filter{cmd: exec.Command(binary)}
	f.cmd.Stderr = os.Stderr
	in, err := f.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.in, f.out = in, bufio.NewReader(out)
	return f, f.cmd.Start()
}

func (f *filter) pass(name protoreflect.FullName, data []byte) (string, []byte, error) {
	var word string
	var n int

	if _, err := fmt.Fprintf(f.in, "%s %d\n%s", name, len(data), data); err != nil {
		return "", nil, err
	}
	line, err := f.out.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	if _, err := fmt.Sscanf(line, "%s %d", &word, &n); err != nil {
		return "", nil, err
	}
	answer := make([]byte, n)
	_, err = io.ReadFull(f.out, answer)
	return word, answer, err
}

func randomText(r *rand.Rand) string {
	letters := []rune("abcxyz /.-ÄßЖ漢🙂\t\x01")
	text := make([]rune, r.Intn(12))
	for i := range text {
		text[i] = letters[r.Intn(len(letters))]
	}
	return string(text)
}

func randomScalar(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	signed := fd.ContainingMessage().FullName() == "google.protobuf.Timestamp"
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(randomText(r))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.Intn(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.Intn(20)))
	case protoreflect.Int32Kind:
		v := int32(r.Uint32() >> (1 + r.Intn(31)))
		if signed && r.Intn(2) == 0 {
			v = -v
		}
		return protoreflect.ValueOfInt32(v)
	case protoreflect.Int64Kind:
		v := int64(r.Uint64() >> (1 + r.Intn(63)))
		if signed && r.Intn(2) == 0 {
			v = -v
		}
		return protoreflect.ValueOfInt64(v)
	}
	panic(fmt.Sprint("kind ", fd.Kind()))
}

func fill(r *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		fd := fields.Get(i)
		if r.Intn(4) == 0 {
			continue
		}
		switch {
		case fd.IsMap():
			for n := r.Intn(5); n > 0; n-- {
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString(randomText(r)).MapKey(),
					protoreflect.ValueOfString(randomText(r)))
			}
		case fd.IsList() && fd.Message() != nil:
			for n := r.Intn(7); n > 0; n-- {
				fill(r, m.Mutable(fd).List().AppendMutable().Message())
			}
		case fd.IsList():
			for n := r.Intn(7); n > 0; n-- {
				m.Mutable(fd).List().Append(randomScalar(r, fd))
			}
		case fd.Message() != nil:
			fill(r, m.Mutable(fd).Message())
			if implied[fd.Message().FullName()] && proto.Size(m.Get(fd).Message().Interface()) == 0 {
				m.Clear(fd)
			}
		default:
			m.Set(fd, randomScalar(r, fd))
		}
	}
}

// Whether the message, or one inside it, has a oneof whose numbers are below those of other fields.
func oneofComesEarly(md protoreflect.MessageDescriptor) bool {
	last := protoreflect.FieldNumber(0)
	for i := 0; i < md.Fields().Len(); i++ {
		fd := md.Fields().Get(i)
		if fd.ContainingOneof() == nil {
			last = max(last, fd.Number())
		}
		if fd.Message() != nil && oneofComesEarly(fd.Message()) {
			return true
		}
	}
	for i := 0; i < md.Fields().Len(); i++ {
		if fd := md.Fields().Get(i); fd.ContainingOneof() != nil && fd.Number() < last {
			return true
		}
	}
	return false
}

func compareMessage(f *filter, r *rand.Rand, md protoreflect.MessageDescriptor) error {
	for i := 0; i < messageRounds; i++ {
		m := dynamicpb.NewMessage(md)
		fill(r, m)
		data, err := proto.MarshalOptions{Deterministic: i%2 == 0}.Marshal(m)
		if err != nil {
			return err
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return err
		}
		word, got, err := f.pass(md.FullName(), data)
		if err != nil {
			return err
		}
		back := dynamicpb.NewMessage(md)
		if err := proto.Unmarshal(got, back); word != "ok" || err != nil || !proto.Equal(m, back) {
			return fmt.Errorf("%v comes back as %v (%s %v)", m, back, word, err)
		}
		// Ours and Python's are in the order of numbers; Go writes the members of a oneof after all others.
		if oneofComesEarly(md) {
			if got, err = (proto.MarshalOptions{Deterministic: true}).Marshal(back); err != nil {
				return err
			}
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%v: want %x, got %x", m, want, got)
		}
	}
	return nil
}

func walkMessages(mds protoreflect.MessageDescriptors, fn func(protoreflect.MessageDescriptor)) {
	for i := 0; i < mds.Len(); i++ {
		if !mds.Get(i).IsMapEntry() {
			fn(mds.Get(i))
			walkMessages(mds.Get(i).Messages(), fn)
		}
	}
}

// One check a message; descriptors: the file that protoc wrote.
func addMessages(binary, descriptors string) error {
	data, err := os.ReadFile(descriptors)
	if err != nil {
		return err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return err
	}
	file, err := files.FindFileByPath("csi.proto")
	if err != nil {
		return err
	}
	f, err := startFilter(binary)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewSource(7))
	walkMessages(file.Messages(), func(md protoreflect.MessageDescriptor) {
		add(fmt.Sprintf("message %s has Go's bytes", md.FullName()), func() error { return compareMessage(f, r, md) })
	})
	add("messages: the filter ends with its input", func() error {
		f.in.Close()
		return f.cmd.Wait()
	})
	return nil
}
