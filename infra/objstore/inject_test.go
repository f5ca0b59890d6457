package objstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

func TestInject(t *testing.T) {
	broken := errors.New("broken")
	var last objstore.Op
	var failing objstore.Kind
	mem := objstore.NewMem()
	s := objstore.Inject(mem, func(op objstore.Op) error {
		last = op
		if op.Kind == failing {
			return broken
		}
		return nil
	})
	ctx := t.Context()
	for _, step := range []struct {
		op objstore.Op
		do func() error
	}{
		{objstore.Op{Kind: objstore.OpPut, Key: "a"}, func() error { return s.Put(ctx, "a", strings.NewReader("abc")) }},
		{objstore.Op{Kind: objstore.OpRead, Key: "a", Offset: 1, Length: 2}, func() error { _, err := s.ReadAt(ctx, "a", make([]byte, 2), 1); return err }},
		{objstore.Op{Kind: objstore.OpStat, Key: "a"}, func() error { _, err := s.Stat(ctx, "a"); return err }},
		{objstore.Op{Kind: objstore.OpList, Key: "p"}, func() (err error) {
			for _, err = range s.List(ctx, "p", "") {
			}
			return err
		}},
		{objstore.Op{Kind: objstore.OpDelete, Key: "a"}, func() error { return s.Delete(ctx, "a") }},
	} {
		failing = step.op.Kind
		require.Equal(t, broken, step.do(), step.op.Kind)
		require.Equal(t, step.op, last)
		failing = 0
		require.NoError(t, step.do(), step.op.Kind)
		_, err := mem.Stat(ctx, "a")
		require.Equal(t, step.op.Kind == objstore.OpDelete, errors.Is(err, objstore.ErrNotFound))
	}

	failing = objstore.OpStored // the response of a Put is lost
	require.Equal(t, broken, s.Put(ctx, "b", strings.NewReader("x")))
	require.Equal(t, objstore.Op{Kind: objstore.OpStored, Key: "b"}, last)
	require.ErrorIs(t, s.Put(ctx, "b", strings.NewReader("x")), objstore.ErrExists)
	require.Equal(t, "stored", objstore.OpStored.String())
	require.Equal(t, "unknown", objstore.Kind(99).String())
	require.NoError(t, s.Close())
}
