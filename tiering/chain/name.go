package chain

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// NewObjectName draws a name for a pack that node writes at now. No object ever had it or will
// have it, whatever the clock says.
func NewObjectName(node id.Broker, now time.Time) string {
	now = now.UTC()
	return fmt.Sprintf("%s%s/%d-%013d-%s.pack", ObjectPrefix, now.Format("2006/01/02"), node,
		now.UnixMilli(), strings.ToLower(rand.Text()[:16]))
}
