package differential

import "math"

var idempotenceScenarios = []scenario{
	{"sequences", idempotenceSequences},
	{"five batches", idempotenceFive},
	{"wrap", idempotenceWrap},
	{"epochs", idempotenceEpochs},
	{"unknown producers", idempotenceUnknown},
	{"empty log", idempotenceEmpty},
	{"duplicates in part", idempotenceParts},
}

func idempotenceSequences(s *session) {
	topic := s.topic("t", 1)
	id, epoch := s.producerID()
	try := func(sequence int32, values ...string) {
		s.send(produce(topic, 0, encode(producerBatch(id, epoch, sequence, values...))))
	}
	try(0, "a", "b")
	try(0, "a", "b")
	try(3, "gap")
	try(2, "c")
	try(1, "behind")
	try(2, "c", "longer")
	try(3, "d")
	try(-1, "none")
	try(math.MinInt32, "least")
	s.send(fetch(12, topic, 0, 0))
}

func idempotenceFive(s *session) {
	topic := s.topic("t", 1)
	id, epoch := s.producerID()
	try := func(sequence int32) {
		s.send(produce(topic, 0, encode(producerBatch(id, epoch, sequence, "v"))))
	}
	for sequence := range int32(7) {
		try(sequence)
	}
	for sequence := range int32(8) {
		try(sequence)
	}
	s.ends(topic, 0)
}

func idempotenceWrap(s *session) {
	topic := s.topic("t", 1)
	id, epoch := s.producerID()
	try := func(sequence int32, values ...string) {
		s.send(produce(topic, 0, encode(producerBatch(id, epoch, sequence, values...))))
	}
	other := s.topic("other", 1)
	for _, begun := range []string{topic, other} { // see idempotenceEmpty
		s.send(produce(begun, 0, encode(newBatch("begun"))))
	}
	try(math.MaxInt32-2, "a")
	try(math.MaxInt32-1, "b", "c", "d")
	try(math.MaxInt32-1, "b", "c", "d")
	try(0, "wrong")
	try(1, "e", "f")
	try(3, "g")
	for _, sequence := range []int32{math.MaxInt32, 1, 0, 0, 1} {
		s.send(produce(other, 0, encode(producerBatch(id, epoch, sequence, "v"))))
	}
	s.ends(topic, 0)
}

func idempotenceEpochs(s *session) {
	topic := s.topic("t", 1)
	id, _ := s.producerID()
	for _, c := range []struct {
		epoch    int16
		sequence int32
	}{{3, 0}, {3, 1}, {2, 0}, {2, 2}, {4, 2}, {4, 1}, {4, 0}, {4, 0}, {3, 1}, {4, 1}, {math.MaxInt16, 0}, {math.MaxInt16, 1}, {0, 0}, {-1, 0}} {
		s.send(produce(topic, 0, encode(producerBatch(id, c.epoch, c.sequence, "v"))))
	}
	s.ends(topic, 0)
}

func idempotenceUnknown(s *session) {
	topic := s.topic("t", 4)
	id, epoch := s.producerID()
	for partition, sequence := range []int32{0, 5, 1 << 20, math.MaxInt32} {
		s.send(produce(topic, int32(partition), encode(newBatch("begun"))))
		for range 2 {
			s.send(produce(topic, int32(partition), encode(producerBatch(id, epoch, sequence, "v"))))
		}
	}
	for _, foreign := range []int64{math.MaxInt64, 1 << 40} {
		s.send(produce(topic, 0, encode(producerBatch(foreign, 7, 9, "v"))))
	}
}

func idempotenceEmpty(s *session) {
	topic := s.topic("t", 1)
	id, epoch := s.producerID()
	for _, sequence := range []int32{5, 0, 1} {
		s.send(produce(topic, 0, encode(producerBatch(id, epoch, sequence, "v"))))
	}
	s.ends(topic, 0)
}

func idempotenceParts(s *session) {
	topic := s.topic("t", 1)
	id, epoch := s.producerID()
	for _, c := range []struct {
		sequence int32
		n        int
	}{{0, 3}, {0, 2}, {1, 2}, {0, 3}, {2, 3}, {3, 3}, {0, 6}, {3, 3}, {6, 1}} {
		s.send(produce(topic, 0, encode(producerBatch(id, epoch, c.sequence, []string{"a", "b", "c", "d", "e", "f"}[:c.n]...))))
	}
	s.ends(topic, 0)
}
