package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// shapes tells, for each request that is served, where its arrays are, so that a
// body can be walked without decoding it. A test holds them to kmsg's encoders.
//
//	4       so many bytes          s   string, also a null one    b   bytes, also null ones
//	(x)     array of primitives    [x y]   array of structs       ?[x y]   struct that may be null
//	x@3+    from version 3 on      x@0-8   in versions 0 to 8
var shapes = map[kmsg.Key][]field{
	kmsg.Produce: compile("s@3+ 2 4 [s@0-12 16@13+ [4 b]]"),
	kmsg.Fetch: compile("4@0-14 4 4 4@3+ 1@4+ 4@7+ 4@7+ [s@0-12 16@13+ [4 4@9+ 8 4@12+ 8@5+ 4]]" +
		" [s@0-12 16@13+ (4)]@7+ s@11+"),
	kmsg.ListOffsets:                compile("4 1@2+ [s [4 4@4+ 8 4@0-0]] 4@10+"),
	kmsg.Metadata:                   compile("[16@10+ s] 1@4+ 1@8-10 1@8+"),
	kmsg.OffsetCommit:               compile("s 4@1+ s@1+ s@7+ 8@2-4 [s@0-9 16@10+ [4 8 8@1-1 4@6+ s]]"),
	kmsg.OffsetFetch:                compile("s@0-7 [s (4)]@0-7 [s s@9+ 4@9+ [s@0-9 16@10+ (4)]]@8+ 1@7+"),
	kmsg.FindCoordinator:            compile("s@0-3 1@1+ (s)@4+"),
	kmsg.JoinGroup:                  compile("s 4 4@1+ s s@5+ s [s b] s@8+"),
	kmsg.Heartbeat:                  compile("s 4 s s@3+"),
	kmsg.LeaveGroup:                 compile("s s@0-2 [s s s@5+]@3+"),
	kmsg.SyncGroup:                  compile("s 4 s s@3+ s@5+ s@5+ [s b]"),
	kmsg.DescribeGroups:             compile("(s) 1@3+"),
	kmsg.ListGroups:                 compile("(s)@4+ (s)@5+"),
	kmsg.ApiVersions:                compile("s@3+ s@3+"),
	kmsg.CreateTopics:               compile("[s 4 2 [4 (4)] [s s]] 4 1@1+"),
	kmsg.DeleteTopics:               compile("(s)@0-5 [s 16]@6+ 4"),
	kmsg.InitProducerID:             compile("s 4 8@3+ 2@3+"),
	kmsg.OffsetForLeaderEpoch:       compile("4@3+ [s [4 4@2+ 4]]"),
	kmsg.AddPartitionsToTxn:         compile("s@0-3 8@0-3 2@0-3 [s (4)]@0-3 [s 8 2 1 [s (4)]]@4+"),
	kmsg.AddOffsetsToTxn:            compile("s 8 2 s"),
	kmsg.EndTxn:                     compile("s 8 2 1"),
	kmsg.WriteTxnMarkers:            compile("[8 2 1 [s (4)] 4 1@2+]"),
	kmsg.DescribeConfigs:            compile("[1 s (s)] 1@1+ 1@3+"),
	kmsg.AlterConfigs:               compile("[1 s [s s]] 1"),
	kmsg.DescribeLogDirs:            compile("[s (4)]"),
	kmsg.CreatePartitions:           compile("[s 4 [(4)]] 4 1"),
	kmsg.DeleteGroups:               compile("(s)"),
	kmsg.ElectLeaders:               compile("1@1+ [s (4)] 4"),
	kmsg.IncrementalAlterConfigs:    compile("[1 s [s 1 s]] 1"),
	kmsg.AlterPartitionAssignments:  compile("4 1@1+ [s [4 (4)]]"),
	kmsg.ListPartitionReassignments: compile("4 [s (4)]"),
	kmsg.TxnOffsetCommit:            compile("s s 8 2 4@3+ s@3+ s@3+ [s@0-5 16@6+ [4 8 4@2+ s]]"),
	kmsg.OffsetDelete:               compile("s [s [4]]"),
	kmsg.DescribeCluster:            compile("1 1@1+ 1@2+"),
	kmsg.DescribeProducers:          compile("[s (4)]"),
	kmsg.UnregisterBroker:           compile("4"),
	kmsg.ListConfigResources:        compile("(1)@1+"),
	kmsg.DescribeTopicPartitions:    compile("[s] 4 ?[s 4]"),

	kmsg.DeleteRecords:                compile("[s [4 8]] 4"),
	kmsg.DescribeACLs:                 compile("1 s 1@1+ s s 1 1"),
	kmsg.CreateACLs:                   compile("[1 s 1@1+ s s 1 1]"),
	kmsg.DeleteACLs:                   compile("[1 s 1@1+ s s 1 1]"),
	kmsg.DescribeClientQuotas:         compile("[s 1 s] 1"),
	kmsg.DescribeUserSCRAMCredentials: compile("[s]"),
	kmsg.UpdateFeatures:               compile("4 [s 2 1@0-0 1@1+] 1@1+"),
	kmsg.DescribeTransactions:         compile("(s)"),
	kmsg.ListTransactions:             compile("(s) (8) 8@1+ s@2+"),
}

// kind is what stands in a field.
type kind byte

const (
	fixed kind = iota
	text
	blob
	list     // array of primitives
	records  // array of structs
	optional // struct that may be null
)

// field is one field of a request.
type field struct {
	kind     kind
	size     int     // of a fixed field, in bytes
	inner    []field // of arrays and structs
	min, max int16   // the versions that have the field
}

// compile reads the notation of shapes. It panics on what it does not understand.
func compile(notation string) []field {
	spaced := strings.NewReplacer("[", " [ ", "]@", " ]@", "]", " ] ", "(", " ( ", ")@", " )@", ")", " ) ", "? ", "?").Replace(notation)
	spaced = strings.ReplaceAll(spaced, "? [", "?[")
	tokens := strings.Fields(spaced)
	fields, rest := compileFields(tokens)
	if len(rest) > 0 {
		panic("wire: unbalanced notation " + notation)
	}
	return fields
}

// compileFields reads fields up to a closing bracket, which it leaves in rest.
func compileFields(tokens []string) (fields []field, rest []string) {
	for len(tokens) > 0 && tokens[0][0] != ']' && tokens[0][0] != ')' {
		f := field{max: 1<<15 - 1}
		word := tokens[0]
		tokens = tokens[1:]
		switch word {
		case "[", "(", "?[":
			f.kind = map[string]kind{"[": records, "(": list, "?[": optional}[word]
			f.inner, tokens = compileFields(tokens)
			word, tokens = tokens[0], tokens[1:]
			_, word, _ = strings.Cut(word, "@")
		default:
			var what string
			what, word, _ = strings.Cut(word, "@")
			f.kind, f.size = primitive(what)
		}
		f.versions(word)
		fields = append(fields, f)
	}
	return fields, tokens
}

// primitive reads the notation of a field without inner ones.
func primitive(word string) (kind, int) {
	switch word {
	case "s":
		return text, 0
	case "b":
		return blob, 0
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		panic("wire: unknown notation " + word)
	}
	return fixed, n
}

// versions reads the notation of a range, which is empty for all versions.
func (f *field) versions(word string) {
	if word == "" {
		return
	}
	low, high, bounded := strings.Cut(strings.TrimSuffix(word, "+"), "-")
	f.min = version(low)
	if bounded {
		f.max = version(high)
	}
}

func version(word string) int16 {
	v, err := strconv.ParseInt(word, 10, 16)
	if err != nil {
		panic("wire: no version: " + word)
	}
	return int16(v)
}

// walker goes over a body and counts what decoding would allocate.
type walker struct {
	reader
	version  int16
	flexible bool
	elements int // left
}

// check walks a body. It fails with ErrMalformed if the body ends early, and with
// ErrTooLarge if it has, or claims, more than limit array elements and tags.
func check(req kmsg.Request, body []byte, limit int) error {
	shape, ok := shapes[kmsg.Key(req.Key())]
	if !ok {
		return fmt.Errorf("%w: no shape is known for key %d", ErrMalformed, req.Key())
	}
	w := walker{reader: reader{rest: body}, version: req.GetVersion(), flexible: req.IsFlexible(), elements: limit}
	w.structure(shape)
	if w.elements < 0 {
		return fmt.Errorf("%w: more than %d elements", ErrTooLarge, limit)
	}
	if w.bad {
		return fmt.Errorf("%w: body ends early", ErrMalformed)
	}
	return nil
}

// structure walks a struct with its tags.
func (w *walker) structure(fields []field) {
	w.fields(fields)
	if w.flexible {
		w.spend(w.tags())
	}
}

func (w *walker) fields(fields []field) {
	for i := range fields {
		f := &fields[i]
		if w.version < f.min || w.version > f.max {
			continue
		}
		switch f.kind {
		case fixed:
			w.take(f.size)
		case text:
			w.take(w.length(w.int16))
		case blob:
			w.take(w.length(w.int32))
		case optional:
			if p := w.take(1); p != nil && int8(p[0]) >= 0 {
				w.structure(f.inner)
			}
		case list, records:
			w.array(f)
		}
	}
}

// array walks the elements of an array once it is known that there may be so many.
func (w *walker) array(f *field) {
	n := w.length(w.int32)
	w.spend(n)
	for ; n > 0 && !w.bad; n-- {
		if f.kind == list {
			w.fields(f.inner)
		} else {
			w.structure(f.inner)
		}
	}
}

// spend takes n off the elements that are allowed.
func (w *walker) spend(n int) {
	w.elements -= n
	if w.elements < 0 {
		w.fail()
	}
}

// length reads the length of a string, of bytes or of an array, 0 for a null one.
// wide reads it where the version is not flexible.
func (w *walker) length(wide func() int) int {
	if !w.flexible {
		n := wide()
		if n < -1 {
			w.fail()
		}
		return max(n, 0)
	}
	return max(int(w.uvarint())-1, 0)
}
