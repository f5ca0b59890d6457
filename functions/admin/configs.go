package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ConfigValue is a config of a resource.
type ConfigValue struct {
	Name      string  `json:"name"`
	Value     *string `json:"value" doc:"null: it is sensitive, or has none"`
	Source    string  `json:"source" enum:"topic,group,broker,all-brokers,static,default" doc:"Where the value was set"`
	Type      string  `json:"type" doc:"boolean, string, int, short, long, double, list, class or password"`
	ReadOnly  bool    `json:"read_only"`
	Sensitive bool    `json:"sensitive"`
	Doc       string  `json:"doc"`
}

// Configs are those of one resource.
type Configs struct {
	Type    string        `json:"type"`
	Name    string        `json:"name"`
	Version uint64        `json:"metadata_version"`
	Configs []ConfigValue `json:"configs" doc:"In order of name. What brokers were started with is not known to a function, which shows the default instead"`
}

// ResourcePath names a resource that has configs.
type ResourcePath struct {
	Type string `path:"type" enum:"topics,brokers,groups"`
	Name string `path:"name" doc:"Of brokers the node id, or default for all brokers"`
}

func (in ResourcePath) resource() metalog.Resource {
	r := metalog.Resource{Type: metalog.ResourceType(strings.TrimSuffix(in.Type, "s")), Name: in.Name}
	if r.Type == metalog.ResourceBroker && r.Name == "default" {
		r.Name = ""
	}
	return r
}

type configsInput struct {
	ResourcePath
	Set bool `query:"set" doc:"Only what was set for the resource itself"`
}

func (a *API) registerConfigs() {
	const tag = "configs"
	handle(a, read("get-configs", "/configs/{type}/{name}", tag, "Configs of a topic, a broker, all brokers or a group", http.StatusNotFound), a.getConfigs)
	handle(a, write("patch-configs", http.MethodPatch, "/configs/{type}/{name}", tag, "Sets, removes, appends to and subtracts from configs", http.StatusNotFound), a.patchConfigs)
}

func (a *API) getConfigs(ctx context.Context, in *configsInput) (Configs, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Configs{}, err
	}
	return a.configsOf(img, in.resource(), in.Set)
}

func (a *API) configsOf(img *metalog.Image, r metalog.Resource, own bool) (Configs, error) {
	res, err := core.FindResource(img, r)
	if err != nil {
		return Configs{}, err
	}
	layers := a.cfg.Settings().Layers(img, res.Resource)
	out := Configs{Type: string(res.Type) + "s", Name: res.Name, Version: img.Version(), Configs: []ConfigValue{}}
	if r.Type == metalog.ResourceBroker && r.Name == "" {
		out.Name, own = "default", true
	}
	for i := range res.Defs {
		d := &res.Defs[i]
		if _, set := layers.Resource[d.Name]; own && !set {
			continue
		}
		out.Configs = append(out.Configs, valueOf(d, layers))
	}
	return out, nil
}

func valueOf(d *config.Definition, layers config.Layers) ConfigValue {
	v := ConfigValue{Name: d.Name, Source: "default", Type: types[d.Type], ReadOnly: d.ReadOnly, Sensitive: d.Sensitive(), Doc: d.Doc}
	if values := d.Resolve(layers); len(values) > 0 {
		v.Source = sources[values[0].Source]
		if !v.Sensitive {
			v.Value = &values[0].Value
		}
	}
	return v
}

var sources = map[config.Source]string{
	config.DynamicTopic: "topic", config.DynamicGroup: "group", config.DynamicBroker: "broker", config.DynamicDefault: "all-brokers",
	config.Static: "static", config.Default: "default",
}

var types = map[config.Type]string{
	config.Boolean: "boolean", config.String: "string", config.Int: "int", config.Short: "short", config.Long: "long",
	config.Double: "double", config.List: "list", config.Class: "class", config.Password: "password",
}

// ConfigPatch is what is asked for.
type ConfigPatch struct {
	Set      map[string]string `json:"set,omitempty"`
	Delete   []string          `json:"delete,omitempty" doc:"What shall have its default again"`
	Append   map[string]string `json:"append,omitempty" doc:"To lists, separated by commas"`
	Subtract map[string]string `json:"subtract,omitempty" doc:"From lists, separated by commas"`
}

type patchConfigsInput struct {
	ChangeInput
	ResourcePath
	Body ConfigPatch
}

// ConfigsChanged are the configs after a change.
type ConfigsChanged struct {
	Changed
	Configs []ConfigValue `json:"configs" doc:"What is set for the resource itself now; in a dry run, before the change"`
}

func (a *API) patchConfigs(ctx context.Context, in *patchConfigsInput) (ConfigsChanged, error) {
	var ops []core.ConfigOp
	add := func(op core.Op, values map[string]string) {
		for name, value := range values {
			ops = append(ops, core.ConfigOp{Name: name, Op: op, Value: &value})
		}
	}
	add(core.OpSet, in.Body.Set)
	add(core.OpAppend, in.Body.Append)
	add(core.OpSubtract, in.Body.Subtract)
	for _, name := range in.Body.Delete {
		ops = append(ops, core.ConfigOp{Name: name, Op: core.OpDelete})
	}
	if len(ops) == 0 {
		return ConfigsChanged{}, problem(http.StatusBadRequest, "the request changes no config: give set, delete, append or subtract")
	}
	slices.SortFunc(ops, func(a, b core.ConfigOp) int { return strings.Compare(a.Name, b.Name) })
	r := in.resource()
	done, img, err := a.apply(ctx, in.ChangeInput, []any{r, in.Body}, a.cfg.Settings().AlterConfigs(r, ops))
	if err != nil {
		return ConfigsChanged{}, err
	}
	now, err := a.configsOf(img, r, true)
	if done.Repeat && err != nil { // it is gone
		return ConfigsChanged{Changed: done, Configs: []ConfigValue{}}, nil
	}
	return ConfigsChanged{Changed: done, Configs: now.Configs}, err
}
