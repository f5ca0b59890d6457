package differential

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var frameScenarios = []scenario{
	{"sizes", frameSizes},
	{"headers", frameHeaders},
	{"unknown keys", frameKeys},
	{"unknown versions", frameVersions},
	{"cut off", frameCut},
	{"counts", frameCounts},
	{"trailing bytes", frameTrailing},
	{"pipelined", framePipelined},
}

// sized is a body with its size before it.
func sized(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func frameSizes(s *session) {
	for _, size := range []int32{-1, 0, 1, 3, -1 << 31, 1<<31 - 1, 104857601} {
		frame := binary.BigEndian.AppendUint32(nil, uint32(size))
		frame = append(frame, bytes.Repeat([]byte{0}, int(max(0, min(size, 64))))...)
		s.on(fmt.Sprint(size)).raw(fmt.Sprintf("size %d", size), frame, nil)
	}
	s.alive()
}

func frameHeaders(s *session) {
	req := kmsg.NewPtrApiVersionsRequest()
	sound := s.conn().frame(req)[4:]
	for n := range len(sound) {
		s.raw(fmt.Sprintf("the first %d bytes of %d", n, len(sound)), sized(sound[:n]...), req)
	}
	long := bytes.Clone(sound)
	binary.BigEndian.PutUint16(long[8:], 0x7fff)
	s.raw("client id too long", sized(long...), req)
	binary.BigEndian.PutUint16(long[8:], 0xfffe)
	s.raw("client id of -2", sized(long...), req)
	s.raw("no client id", sized(append(bytes.Clone(sound[:8]), 0xff, 0xff)...), nil)
	s.alive()
}

func frameKeys(s *session) {
	for _, key := range []int16{-1, 4, 5, 6, 7, 52, 53, 54, 55, 56, 58, 59, 62, 63, 67, 70, 73, 82, 93, 100, 1000, 32767, -32768} {
		var body []byte
		body = binary.BigEndian.AppendUint16(body, uint16(key))
		body = append(body, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0)
		s.raw(fmt.Sprintf("key %d", key), sized(body...), nil)
	}
	s.alive()
}

func frameVersions(s *session) {
	for key := range int16(81) {
		if kmsg.RequestForKey(key) == nil || key >= 4 && key <= 7 || key >= 52 && key <= 59 || key == 62 || key == 63 || key == 67 || key == 70 || key == 73 {
			continue
		}
		for _, version := range []int16{-1, 30, 32767} {
			req := kmsg.RequestForKey(key)
			req.SetVersion(req.MaxVersion())
			frame := s.conn().frame(req)
			binary.BigEndian.PutUint16(frame[6:], uint16(version))
			s.raw(fmt.Sprintf("%s version %d", kmsg.Key(key).Name(), version), frame, nil)
		}
	}
	s.alive()
}

func frameCut(s *session) {
	topic := s.topic("t", 1)
	for _, req := range []kmsg.Request{
		produce(topic, 0, encode(newBatch("v"))), fetch(12, topic, 0, 0), metadata(9, topic), metadata(1, topic),
		listOffsets(7, 0, topic, 0, -1, -1), join(9, s.name("g"), ""), commit(8, s.name("g"), "", -1, topic, 0, 1),
		fetchOffsets(8, s.name("g"), topic, 0), creation(s.name("u"), 1, 1), deleteRecords(2, topic, 0, 0),
		describeConfigs(4, onTopic, topic), syncGroup(5, s.name("g"), "m", 1, "m"), deleteGroups(2, s.name("g")),
	} {
		frame := s.conn().frame(req)[4:]
		for _, cut := range []int{1, 2, 5, len(frame) / 3} {
			if n := len(frame) - cut; n > 30 {
				s.raw(fmt.Sprintf("%s less %d bytes", describe(req), cut), sized(frame[:n]...), nil)
			}
		}
	}
	s.alive()
}

func frameCounts(s *session) {
	topic := s.topic("t", 1)
	for _, count := range []uint32{0xffffffff, 0xfffffffe, 0x7fffffff, 1 << 24, 2} {
		for _, req := range []kmsg.Request{metadata(1, topic), fetch(4, topic, 0, 0), listOffsets(1, 0, topic, 0, -1, -1)} {
			frame := s.conn().frame(req)
			at := bytes.Index(frame, append(binary.BigEndian.AppendUint16(nil, uint16(len(topic))), topic...)) - 4
			binary.BigEndian.PutUint32(frame[at:], count)
			s.raw(fmt.Sprintf("%s of %d topics", describe(req), int32(count)), frame, nil)
		}
		req := metadata(9, topic)
		frame := s.conn().frame(req)
		at := bytes.Index(frame, append(binary.AppendUvarint(nil, uint64(len(topic)+1)), topic...)) - 1
		body := append(binary.AppendUvarint(bytes.Clone(frame[4:at]), uint64(count)), frame[at+1:]...)
		s.raw(fmt.Sprintf("%s of %d topics", describe(req), count-1), sized(body...), nil)
	}
	s.alive()
}

func frameTrailing(s *session) {
	topic := s.topic("t", 1)
	for _, req := range []kmsg.Request{metadata(9, topic), metadata(1, topic), fetch(12, topic, 0, 0), heartbeat(4, s.group("g"), "m", 1)} {
		frame := append(s.conn().frame(req)[4:], 1, 2, 3)
		s.raw(describe(req)+" with bytes behind", sized(frame...), nil)
	}
	tagged := s.conn().frame(metadata(9, topic))[4:]
	tagged = append(tagged[:len(tagged)-1], 1, 100, 2, 0xaa, 0xbb)
	s.raw("an unknown tag", sized(tagged...), nil)
	tagged[len(tagged)-3] = 100
	s.raw("a tag that is too long", sized(tagged...), nil)
	s.alive()
}

func framePipelined(s *session) {
	topic := s.topic("t", 1)
	c := s.conn()
	var all []byte
	waiting := fetch(12, topic, 0, 0)
	waiting.MaxWaitMillis, waiting.MinBytes = 300, 1
	for _, req := range []kmsg.Request{waiting, metadata(9, topic), heartbeat(4, s.name("g"), "m", 1), metadata(1, topic)} {
		all = append(all, c.frame(req)...)
	}
	if err := c.write(all); err != nil {
		s.fail("%w", err)
	}
	for range 4 {
		body, err := c.read(answerLimit)
		if err != nil {
			s.note("answer", err.Error())
			return
		}
		s.note("answer", fmt.Sprintf("%d before the last request", c.correlation-int32(binary.BigEndian.Uint32(body))))
	}
}
