package broker

import (
	"context"
	stdsync "sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroups (key 42), versions 0 to 2. It is answered when the offsets are removed durably. No deviations.

func handleDeleteGroups(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.DeleteGroupsRequest](c)
	resp := responseTo[*kmsg.DeleteGroupsResponse](req)
	seen := map[string]bool{}
	for _, name := range req.Groups {
		if !seen[name] {
			seen[name] = true
			g := kmsg.NewDeleteGroupsResponseGroup()
			g.Group = name
			resp.Groups = append(resp.Groups, g)
		}
	}
	var mu stdsync.Mutex
	left := len(resp.Groups)
	if left == 0 {
		c.reply(resp)
		return
	}
	for i := range resp.Groups {
		g := &resp.Groups[i]
		b.groups.delete(ctx, g.Group, func(err error) {
			g.ErrorCode = c.code(err)
			mu.Lock()
			left--
			last := left == 0
			mu.Unlock()
			if last {
				c.reply(resp)
			}
		})
	}
}
