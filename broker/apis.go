package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// apis is every API that the broker serves, in order of key. The version ranges
// are those of Kafka 4.2; the file of each API says where it deviates.
func apis() []api {
	return []api{
		{key: kmsg.ApiVersions, min: 0, max: 4, handle: synchronous(handleAPIVersions)},
	}
}
