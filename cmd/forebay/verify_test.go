package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/cmd/forebay/internal/audit"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/tiering/chain"
)

// makeDataDir makes a small data directory with a real broker: small hot segments,
// part of them sealed and some of those dropped, an offset committed, and stopped.
func makeDataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	n := startDev(t, "--dir", dir, "--segment-bytes", "4096", "--hot-bytes", "9000")
	t.Setenv("FOREBAY_BROKERS", n.addr)
	succeed(t, "", "topic", "create", "events", "--partitions", "2")
	succeed(t, "", "topic", "create", "orders")
	for i := range 6 {
		var in strings.Builder
		for j := range 20 {
			fmt.Fprintf(&in, "k%d\trecord %d of round %d %0200d\n", j, j, i, j)
		}
		succeed(t, in.String(), "produce", "events", "-K", `\t`)
		succeed(t, in.String(), "produce", "orders", "-z", "zstd")
	}
	succeed(t, "", "consume", "events", "-g", "g", "--from-beginning", "-e")
	require.Eventually(t, func() bool { // sealing goes on beside it
		packs, err := filepath.Glob(filepath.Join(dir, "objects", "packs.d", "*", "*", "*", "*"))
		require.NoError(t, err)
		hot, err := filepath.Glob(filepath.Join(dir, "hot", "*.hot"))
		require.NoError(t, err)
		return len(packs) > 0 && filepath.Base(hot[0]) != "0000000000000001.hot"
	}, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, exitOK, n.stop(t), n.err)
	return dir
}

// verifyDir runs verify and returns its exit code and document.
func verifyDir(t *testing.T, dir string) (int, verified) {
	t.Helper()
	r := forebay(t, "", "verify", "--dir", dir, "-o", "json")
	var doc verified
	require.NoError(t, json.Unmarshal([]byte(r.out), &doc), "%s%s", r.out, r.err)
	return r.code, doc
}

func TestVerifyFindsNothingInAWholeDirectory(t *testing.T) {
	dir := makeDataDir(t)
	code, doc := verifyDir(t, dir)
	require.Equal(t, exitOK, code)
	require.Empty(t, doc.Findings)
	require.Equal(t, 3, doc.Topics, "two, and that of the group coordinators")
	require.Equal(t, 53, doc.Partitions)
	require.Positive(t, doc.Segments)
	require.Positive(t, doc.Links)
	require.Positive(t, doc.Packs)
	require.Equal(t, 1, doc.Groups)
	require.Equal(t, doc.Batches, doc.Indexed)
	require.Contains(t, succeed(t, "", "verify", "--dir", dir), "is whole")
	_, again := verifyDir(t, dir)
	require.Equal(t, doc, again, "verify changes nothing")
}

// content is all that the tables mean to the packages that read them.
func content(t *testing.T, dir string) string {
	t.Helper()
	d, broken, err := openStopped(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close()) }()
	require.Empty(t, broken)
	slots, err := metalog.Slots(t.Context(), d.control, 0, 0)
	require.NoError(t, err)
	all := []any{slots}
	chains := chain.Open(d.control)
	partitions, err := chains.Partitions(t.Context())
	require.NoError(t, err)
	for _, p := range partitions {
		segments, err := chains.Segments(t.Context(), p, 0, 0)
		require.NoError(t, err)
		all = append(all, p, segments)
	}
	table := offsets.Open(d.offsets, offsets.Sole)
	groups, err := table.Groups(t.Context())
	require.NoError(t, err)
	for _, g := range groups {
		entries, err := table.Read(t.Context(), g)
		require.NoError(t, err)
		all = append(all, g, entries)
	}
	return fmt.Sprintf("%+v", all)
}

// One flipped bit anywhere is found, and named with its file, or proven to be of no
// consequence: an index that is refused and rebuilt or still equals the hot segments entry
// by entry, or a byte of a table that no item is in.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	dir := makeDataDir(t)
	means := content(t, dir)
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	for _, file := range files {
		name, err := filepath.Rel(dir, file)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(file)
			require.NoError(t, err)
			found, idle := 0, 0
			for _, bit := range bitsToFlip(name, len(whole)) {
				f, err := os.OpenFile(file, os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte{whole[bit/8] ^ 1<<(bit%8)}, int64(bit/8))
				require.NoError(t, err)
				if flipIsFound(t, dir, name, bit) {
					found++
				} else {
					idle++
					require.True(t, name == controlFile || name == offsetsFile || filepath.Dir(name) == "index", "byte %d, bit %d is not found", bit/8, bit%8)
					if means != content(t, dir) { // both are long
						t.Fatalf("byte %d, bit %d has changed what the tables mean", bit/8, bit%8)
					}
				}
				_, err = f.WriteAt(whole[bit/8:bit/8+1], int64(bit/8))
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
			t.Logf("%d bytes, %d bits found, %d of no consequence", len(whole), found, idle)
			if len(whole) > 0 {
				require.Positive(t, found)
			}
		})
	}
	code, doc := verifyDir(t, dir)
	require.Equal(t, exitOK, code)
	require.Empty(t, doc.Findings, "all is as it was")
}

// bitsToFlip are all bits of a small file, and some of a large one. Of a table they
// include the headers of the pages, where a bit can hide items.
func bitsToFlip(name string, size int) []int {
	const page = 4096
	most := 250
	if testing.Short() {
		most = 40
	}
	step := 1
	if size*8 > 4*most {
		step = size*8/most | 1 // odd, to reach every bit of a byte
	}
	var bits []int
	for bit := 0; bit < size*8; bit += step {
		bits = append(bits, bit)
	}
	if name == controlFile || name == offsetsFile {
		for at := 0; at < size; at += page {
			for bit := (at + 8) * 8; bit < (at+12)*8; bit++ { // flags and count
				bits = append(bits, bit)
			}
		}
	}
	return bits
}

// flipIsFound reports whether an audit names the file.
func flipIsFound(t *testing.T, dir, name string, bit int) bool {
	t.Helper()
	d, broken, err := openStopped(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close()) }()
	ad := auditDir(d, broken)
	inIndex := filepath.Dir(name) == ad.Index // what is found of it is harmless
	if !inIndex {
		ad.Index = "none" // it takes long to open and is the same each time
	}
	found, damage := false, 0
	_, err = audit.Run(t.Context(), ad, func(f audit.Finding) {
		if f.Severity == audit.Damage {
			damage++
		}
		found = found || f.File == filepath.ToSlash(name) || inIndex && f.File == ad.Index
	}, func(string) {})
	require.NoError(t, err)
	if inIndex {
		require.Zero(t, damage, "the index is derived")
	} else if found {
		require.Positive(t, damage, "byte %d, bit %d", bit/8, bit%8)
	}
	return found
}

// What is damaged is named as closely as can be, with the exit code for it.
func TestVerifyNamesThePlace(t *testing.T) {
	dir := makeDataDir(t)
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "packs.d", "*", "*", "*", "*"))
	require.NoError(t, err)
	flipByte(t, packs[0], 300)
	hot, err := filepath.Glob(filepath.Join(dir, "hot", "*.hot"))
	require.NoError(t, err)
	flipByte(t, hot[0], 700)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "stray"), nil, 0o644))

	code, doc := verifyDir(t, dir)
	require.Equal(t, exitDamaged, code)
	byCheck := map[string]audit.Finding{}
	for _, f := range doc.Findings {
		byCheck[f.Check] = f
	}
	require.Contains(t, byCheck["pack"].File, ".pack")
	require.NotNil(t, byCheck["pack"].Position)
	require.NotEmpty(t, byCheck["pack"].Topic)
	require.NotNil(t, byCheck["pack"].Offset)
	require.Equal(t, "hot/"+filepath.Base(hot[0]), byCheck["hot segment"].File)
	require.NotNil(t, byCheck["hot segment"].Position)
	require.Equal(t, audit.Harmless, byCheck["other files"].Severity)

	r := forebay(t, "", "verify", "--dir", dir)
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.out, "damage    hot segment  hot/"+filepath.Base(hot[0])+":")
	require.Contains(t, r.err, "is damaged in")
}

func flipByte(t *testing.T, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b[at] ^= 0x10
	require.NoError(t, os.WriteFile(file, b, 0o600))
}

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	whole := makeDataDir(t)
	glob := func(dir string, parts ...string) []string {
		files, err := filepath.Glob(filepath.Join(append([]string{dir}, parts...)...))
		require.NoError(t, err)
		return files
	}
	tests := []struct {
		name  string
		harm  func(t *testing.T, dir string)
		code  int
		check string
		says  string
	}{
		{"a pack", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(glob(dir, "objects", "packs.d", "*", "*", "*", "*")[0]))
		}, exitDamaged, "pack", "missing object"},
		{"a hot segment that is not sealed", func(t *testing.T, dir string) {
			for _, file := range glob(dir, "hot", "*.hot") {
				require.NoError(t, os.Remove(file))
			}
		}, exitDamaged, "continuity", "the index has them"},
		{"the metadata", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, controlFile)))
		}, exitDamaged, "table", "control.db"},
		{"the offsets", func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, offsetsFile), 5000))
		}, exitDamaged, "table", "offsets.db"},
		{"the index", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "index")))
		}, exitOK, "index", "will be rebuilt"},
		{"half a hot segment", func(t *testing.T, dir string) {
			files := glob(dir, "hot", "*.hot")
			require.NoError(t, os.Truncate(files[len(files)-1], 600))
		}, exitDamaged, "hot segment", ""},
		{"the end of the marker", func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, markerFile), 10))
		}, exitDamaged, "marker", "is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
			tt.harm(t, dir)
			code, doc := verifyDir(t, dir)
			require.Equal(t, tt.code, code, "%+v", doc.Findings)
			var said []string
			for _, f := range doc.Findings {
				if f.Check == tt.check {
					said = append(said, f.What)
				}
			}
			require.NotEmpty(t, said, "%+v", doc.Findings)
			require.Contains(t, strings.Join(said, "\n"), tt.says)
		})
	}
}

func TestStoppedDirectoriesOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := startDev(t, "--dir", dir)
	for _, args := range [][]string{{"verify"}, {"inspect", "chain"}, {"inspect", "metalog"}} {
		r := forebay(t, "", append(args, "--dir", dir)...)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.err, "another forebay uses it; stop that one")
	}
	hot, err := filepath.Glob(filepath.Join(dir, "hot", "*.hot"))
	require.NoError(t, err)
	require.NotEmpty(t, hot)
	r := forebay(t, "", "inspect", "segment", hot[0])
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "stop that one")
	require.Equal(t, exitOK, n.stop(t))
	succeed(t, "", "verify", "--dir", dir)

	r = forebay(t, "", "verify", "--dir", t.TempDir())
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "not a Forebay data directory")
	r = forebay(t, "", "verify", "--dir", filepath.Join(dir, "nope"))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "no such file")
}
