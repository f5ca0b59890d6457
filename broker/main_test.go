package broker

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/broker/group"
)

func TestMain(m *testing.M) {
	_ = group.Snapshot{}.AppendTo(nil) // its encoder is made on first use, which must not be in the bubble of a test
	goleak.VerifyTestMain(m)
}
