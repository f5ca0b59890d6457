package admin

import (
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ConfigResource is a resource that has configs.
type ConfigResource struct {
	metalog.Resource                     // a broker's Name is as the metadata has it
	Defs             []config.Definition // the configs there are, in order of name
	Find             func(name string) (*config.Definition, bool)
}

// FindResource finds a resource on an Image. It fails with UNKNOWN_TOPIC_OR_PARTITION,
// INVALID_TOPIC_EXCEPTION, BROKER_ID_NOT_REGISTERED and INVALID_REQUEST.
func FindResource(img *metalog.Image, r metalog.Resource) (ConfigResource, error) {
	switch r.Type {
	case metalog.ResourceTopic:
		return topicResource(img, r)
	case metalog.ResourceBroker:
		return brokerResource(img, r)
	case metalog.ResourceGroup:
		if r.Name == "" {
			return ConfigResource{}, fmt.Errorf("group configs without a group: %w", kerr.InvalidRequest)
		}
		return ConfigResource{Resource: r, Defs: config.Groups(), Find: config.Group}, nil
	default:
		return ConfigResource{}, fmt.Errorf("configs of resource type %s are not served: %w", r.Type, kerr.InvalidRequest)
	}
}

func topicResource(img *metalog.Image, r metalog.Resource) (ConfigResource, error) {
	if err := CheckTopicName(r.Name); err != nil {
		return ConfigResource{}, err
	}
	if _, ok := img.Topic(r.Name); !ok {
		return ConfigResource{}, fmt.Errorf("topic %q: %w", r.Name, kerr.UnknownTopicOrPartition)
	}
	return ConfigResource{Resource: r, Defs: config.Topics(), Find: config.Topic}, nil
}

// brokerResource is a broker, or all of them if the name is empty.
func brokerResource(img *metalog.Image, r metalog.Resource) (ConfigResource, error) {
	if r.Name != "" {
		n, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil {
			return ConfigResource{}, fmt.Errorf("broker %q: must be a node id, or empty for all brokers: %w", r.Name, kerr.InvalidRequest)
		}
		if _, ok := img.Broker(id.Broker(n)); !ok {
			return ConfigResource{}, fmt.Errorf("broker %d: %w", n, kerr.BrokerIDNotRegistered)
		}
		r.Name = strconv.FormatInt(n, 10)
	}
	return ConfigResource{Resource: r, Defs: config.Brokers(), Find: config.Broker}, nil
}

// Op is what is done to a config, by Kafka's number of it.
type Op int8

// The operations.
const (
	OpSet      Op = 0
	OpDelete   Op = 1 // sets nothing any more, so that the default counts
	OpAppend   Op = 2 // to a list
	OpSubtract Op = 3 // from a list
)

// ConfigOp is one operation on a config of a resource.
type ConfigOp struct {
	Name  string
	Op    Op
	Value *string // nil only with OpDelete
}

// ReplaceConfigs is the change after which a resource has the given configs, whose Op is OpSet, and no
// others; its record is a ConfigChanged. It fails as FindResource does, with INVALID_CONFIG, and
// with INVALID_REQUEST for what is given twice, has no value or cannot be changed.
func (s Settings) ReplaceConfigs(r metalog.Resource, given []ConfigOp) *Change {
	return s.changeConfigs(r, given, func(img *metalog.Image, res ConfigResource) (map[string]*string, error) {
		return replacement(img, res, given)
	})
}

// AlterConfigs is the change that applies operations to the configs of a resource (KIP-339); its record
// is a ConfigChanged. It fails as ReplaceConfigs does.
func (s Settings) AlterConfigs(r metalog.Resource, ops []ConfigOp) *Change {
	return s.changeConfigs(r, ops, func(img *metalog.Image, res ConfigResource) (map[string]*string, error) {
		return increment(res, s.Layers(img, res.Resource), ops)
	})
}

// changeConfigs is the change of a resource's configs by what decide returns: values to
// set, nil to remove.
func (s Settings) changeConfigs(r metalog.Resource, ops []ConfigOp,
	decide func(img *metalog.Image, res ConfigResource) (map[string]*string, error),
) *Change {
	size := 1 << 10
	for _, op := range ops {
		size += len(op.Name) + 16
		if op.Value != nil {
			size += len(*op.Value)
		}
	}
	return &Change{
		Action: ActionAlterConfigs, Resource: r, Size: size,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			res, err := FindResource(img, r)
			if err != nil {
				return nil, err
			}
			set, err := decide(img, res)
			if err == nil {
				err = errors.Join(s.CheckServed(set), consistent(img, res, set))
			}
			if err != nil {
				return nil, err
			}
			return []metalog.Record{metalog.ConfigChanged{Resource: res.Resource, Set: set}}, nil
		},
	}
}

// consistent checks what a topic's configs come to with the changes of set.
func consistent(img *metalog.Image, res ConfigResource, set map[string]*string) error {
	if res.Type != metalog.ResourceTopic {
		return nil
	}
	own := map[string]string{}
	maps.Copy(own, img.Config(res.Resource))
	for name, value := range set {
		if delete(own, name); value != nil {
			own[name] = *value
		}
	}
	return config.Consistent(own)
}

// replacement sets what is given and removes the rest.
func replacement(img *metalog.Image, res ConfigResource, given []ConfigOp) (map[string]*string, error) {
	set := make(map[string]*string)
	for name := range img.Config(res.Resource) {
		set[name] = nil
	}
	for i := range given {
		if given[i].Value == nil {
			return nil, fmt.Errorf("config %s: null is no value: %w", given[i].Name, kerr.InvalidRequest)
		}
		if set[given[i].Name] != nil {
			return nil, fmt.Errorf("config %s is given twice: %w", given[i].Name, kerr.InvalidRequest)
		}
		d, err := alterable(res, given[i].Name)
		if err == nil {
			err = checkValue(d, *given[i].Value)
		}
		if err != nil {
			return nil, err
		}
		set[d.Name] = given[i].Value
	}
	return set, nil
}

// increment is what operations come to.
func increment(res ConfigResource, layers config.Layers, ops []ConfigOp) (map[string]*string, error) {
	set := make(map[string]*string, len(ops))
	for i := range ops {
		op := &ops[i]
		if _, twice := set[op.Name]; twice {
			return nil, fmt.Errorf("config %s is given twice: %w", op.Name, kerr.InvalidRequest)
		}
		value, err := operate(res, layers, op)
		if err != nil {
			return nil, err
		}
		set[op.Name] = value
	}
	return set, nil
}

// operate is the value after one operation, nil if it is removed.
func operate(res ConfigResource, layers config.Layers, op *ConfigOp) (*string, error) {
	if op.Op == OpDelete {
		_, known := res.Find(op.Name)
		if _, set := layers.Resource[op.Name]; !known && !set {
			return nil, fmt.Errorf("%s config %s: %w", res.Type, op.Name, config.ErrUnknown)
		}
		return nil, nil //nolint:nilnil // the record's own way to say that a value is removed
	}
	d, err := alterable(res, op.Name)
	if err != nil {
		return nil, err
	}
	if op.Value == nil {
		return nil, fmt.Errorf("config %s: null is no value: %w", op.Name, kerr.InvalidRequest)
	}
	current := ""
	if values := d.Resolve(layers); len(values) > 0 {
		current = values[0].Value
	}
	value := *op.Value
	switch op.Op {
	case OpSet:
	case OpAppend:
		value, err = d.Append(current, value)
	case OpSubtract:
		value, err = d.Subtract(current, value)
	default:
		err = fmt.Errorf("config %s: operation %d is unknown: %w", op.Name, op.Op, kerr.InvalidRequest)
	}
	if err == nil {
		err = checkValue(d, value)
	}
	return &value, err
}

// maxConfigValue is the longest value of a config in bytes.
const maxConfigValue = 32 << 10

// checkValue validates a value that is to be set.
func checkValue(d *config.Definition, value string) error {
	if len(value) > maxConfigValue {
		return fmt.Errorf("%s: value of %d bytes is longer than %d: %w", d.Name, len(value), maxConfigValue, config.ErrInvalid)
	}
	return d.Validate(value)
}

// alterable finds a config that may be changed.
func alterable(res ConfigResource, name string) (*config.Definition, error) {
	d, ok := res.Find(name)
	if !ok {
		return nil, fmt.Errorf("%s config %s: %w", res.Type, name, config.ErrUnknown)
	}
	if d.ReadOnly {
		return nil, fmt.Errorf("%s config %s: %w", res.Type, name, config.ErrReadOnly)
	}
	return d, nil
}
