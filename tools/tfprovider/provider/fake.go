package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// What there is in this world without AWS.
const (
	defaultRegion = "us-east-1"
	account       = "123456789012"
)

// chosen are optional arguments that AWS chooses if they are left out, beside id, region and tags_all.
var chosen = map[string][]string{
	"aws_autoscaling_group":        {"name"},
	"aws_iam_instance_profile":     {"name"},
	"aws_iam_role":                 {"name"},
	"aws_kms_key":                  {"policy"},
	"aws_lb":                       {"name", "security_groups"},
	"aws_lb_target_group":          {"name"},
	"aws_launch_template":          {"name", "default_version"},
	"aws_lambda_function":          {"source_code_hash"},
	"aws_route53_zone":             {"name_servers"},
	"aws_s3_bucket":                {"bucket"},
	"aws_security_group":           {"name", "vpc_id"},
	"aws_sqs_queue":                {"name", "policy"},
	"aws_subnet":                   {"availability_zone", "availability_zone_id"},
	"aws_vpc_endpoint":             {"policy", "route_table_ids", "subnet_ids", "security_group_ids"},
	"aws_cloudwatch_log_group":     {"name"},
	"aws_cloudwatch_event_rule":    {"name"},
	"aws_ecs_task_definition":      {"execution_role_arn"},
	"aws_scheduler_schedule":       {"name"},
	"aws_scheduler_schedule_group": {"name"},
}

// plan leaves unknown what AWS would decide, and merges the tags, as the provider does.
func plan(kind string, b schema.Block, v tftypes.Value, conf settings) tftypes.Value {
	names := map[string]bool{"id": true, "region": true}
	for _, name := range chosen[kind] {
		names[name] = true
	}
	tags := object(v)["tags"]
	return walk(b, v, true, func(name string, a schema.Attr, v tftypes.Value, top bool) tftypes.Value {
		switch {
		case top && name == "tags_all" && (tags.Type() == nil || tags.IsFullyKnown()):
			all := maps.Clone(conf.tags)
			if all == nil {
				all = map[string]string{}
			}
			maps.Copy(all, texts(tags))
			return stringMap(all)
		case top && name == "tags_all":
			return tftypes.NewValue(a.Type.TF(), tftypes.UnknownValue)
		case top && name == "region" && v.IsNull():
			return tftypes.NewValue(tftypes.String, conf.region)
		case a.Computed && v.IsNull() && (!a.Optional || top && names[name]):
			return tftypes.NewValue(a.Type.TF(), tftypes.UnknownValue)
		default:
			return v
		}
	})
}

// fill makes up all that is unknown: first the names, then what is made of them.
func fill(kind string, b schema.Block, v tftypes.Value, conf settings) tftypes.Value {
	f := &faker{kind: kind, conf: conf, fields: object(v), nonce: nonce(kind)}
	v = walk(b, v, true, f.only(func(name string) bool { return formulas[kind][name] == "" && name != "id" && name != "arn" }))
	f.fields = object(v)
	v = walk(b, v, true, f.only(func(name string) bool { return name != "id" }))
	f.fields = object(v)
	return walk(b, v, true, f.only(func(string) bool { return true }))
}

type faker struct {
	kind   string
	conf   settings
	fields map[string]tftypes.Value
	nonce  string
}

// count makes the ids of resources differ, also of two that are configured alike.
var count atomic.Uint64

func nonce(kind string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, count.Add(1)))
	return hex.EncodeToString(sum[:])[:17]
}

func (f *faker) only(these func(name string) bool) func(string, schema.Attr, tftypes.Value, bool) tftypes.Value {
	return func(name string, a schema.Attr, v tftypes.Value, _ bool) tftypes.Value {
		if v.IsKnown() || !these(name) {
			return v
		}
		return f.value(name, a.Type)
	}
}

// value makes up a value of a type.
func (f *faker) value(name string, t schema.Type) tftypes.Value {
	switch t.Kind {
	case "string":
		return tftypes.NewValue(tftypes.String, f.text(name))
	case "number":
		return tftypes.NewValue(tftypes.Number, 1)
	case "bool":
		return tftypes.NewValue(tftypes.Bool, false)
	case "list", "set":
		return tftypes.NewValue(t.TF(), []tftypes.Value{})
	case "map":
		return tftypes.NewValue(t.TF(), map[string]tftypes.Value{})
	case "object":
		fields := map[string]tftypes.Value{}
		for name, field := range t.Fields {
			fields[name] = f.value(name, field)
		}
		return tftypes.NewValue(t.TF(), fields)
	default:
		return tftypes.NewValue(t.TF(), nil)
	}
}

// formulas are how AWS makes names: {x} is the argument x of the resource, {#} a number of its own.
var formulas = map[string]map[string]string{
	"aws_autoscaling_group":       {"id": "{name}", "arn": "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{#}:autoScalingGroupName/{name}"},
	"aws_apigatewayv2_api":        {"id": "{#}", "api_endpoint": "https://{#}.execute-api.{region}.amazonaws.com", "execution_arn": "arn:aws:execute-api:{region}:{account}:{#}"},
	"aws_apigatewayv2_stage":      {"id": "{name}", "invoke_url": "https://{api_id}.execute-api.{region}.amazonaws.com/"},
	"aws_cloudwatch_event_rule":   {"id": "{name}", "arn": "arn:aws:events:{region}:{account}:rule/{name}"},
	"aws_cloudwatch_log_group":    {"id": "{name}", "arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
	"aws_cloudwatch_metric_alarm": {"id": "{alarm_name}", "arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{alarm_name}"},
	"aws_dynamodb_table":          {"id": "{name}", "arn": "arn:aws:dynamodb:{region}:{account}:table/{name}"},
	"aws_ecs_cluster":             {"id": "{arn}", "arn": "arn:aws:ecs:{region}:{account}:cluster/{name}"},
	"aws_ecs_service":             {"id": "{arn}", "arn": "arn:aws:ecs:{region}:{account}:service/{name}"},
	"aws_ecs_task_definition":     {"id": "{family}", "arn": "arn:aws:ecs:{region}:{account}:task-definition/{family}:1"},
	"aws_iam_instance_profile":    {"id": "{name}", "arn": "arn:aws:iam::{account}:instance-profile/{name}"},
	"aws_iam_role":                {"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
	"aws_iam_policy":              {"id": "{arn}", "arn": "arn:aws:iam::{account}:policy/{name}"},
	"aws_kms_key":                 {"id": "{#}", "key_id": "{#}", "arn": "arn:aws:kms:{region}:{account}:key/{#}"},
	"aws_lambda_function":         {"id": "{function_name}", "arn": "arn:aws:lambda:{region}:{account}:function:{function_name}", "qualified_arn": "arn:aws:lambda:{region}:{account}:function:{function_name}:1"},
	"aws_lambda_function_url":     {"id": "{function_name}", "function_url": "https://{#}.lambda-url.{region}.on.aws/"},
	"aws_launch_template":         {"id": "lt-{#}", "arn": "arn:aws:ec2:{region}:{account}:launch-template/lt-{#}"},
	"aws_lb":                      {"id": "{arn}", "arn": "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/net/{name}/{#}", "arn_suffix": "net/{name}/{#}", "dns_name": "{name}-{#}.elb.{region}.amazonaws.com", "zone_id": "Z{#}"},
	"aws_lb_listener":             {"id": "{arn}"},
	"aws_lb_target_group":         {"id": "{arn}", "arn": "arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/{#}", "arn_suffix": "targetgroup/{name}/{#}"},
	"aws_network_interface":       {"id": "eni-{#}"},
	"aws_route53_zone":            {"id": "{zone_id}", "zone_id": "Z{#}"},
	"aws_s3_bucket":               {"id": "{bucket}", "arn": "arn:aws:s3:::{bucket}", "bucket_domain_name": "{bucket}.s3.amazonaws.com", "bucket_regional_domain_name": "{bucket}.s3.{region}.amazonaws.com"},
	"aws_s3_directory_bucket":     {"id": "{bucket}", "arn": "arn:aws:s3express:{region}:{account}:bucket/{bucket}"},
	"aws_security_group":          {"id": "sg-{#}"},
	"aws_sns_topic":               {"id": "{arn}", "arn": "arn:aws:sns:{region}:{account}:{name}"},
	"aws_sqs_queue":               {"id": "{url}", "arn": "arn:aws:sqs:{region}:{account}:{name}", "url": "https://sqs.{region}.amazonaws.com/{account}/{name}"},
	"aws_vpc":                     {"id": "vpc-{#}"},
	"aws_subnet":                  {"id": "subnet-{#}"},
	"aws_vpc_endpoint":            {"id": "vpce-{#}", "prefix_list_id": "pl-{#}"},
}

var rePlace = regexp.MustCompile(`\{[\w#]+\}`)

func (f *faker) text(name string) string {
	if formula, ok := formulas[f.kind][name]; ok {
		return rePlace.ReplaceAllStringFunc(formula, func(place string) string { return f.place(strings.Trim(place, "{}")) })
	}
	service, rest, _ := strings.Cut(strings.TrimPrefix(f.kind, "aws_"), "_")
	switch {
	case name == "id":
		return strings.ReplaceAll(service+"-"+rest, "_", "-") + "-" + f.nonce
	case name == "arn" || strings.HasSuffix(name, "_arn"):
		return fmt.Sprintf("arn:aws:%s:%s:%s:%s/%s-%s", service, f.conf.region, account, rest, name, f.nonce)
	default:
		return strings.ReplaceAll(name, "_", "-") + "-" + f.nonce
	}
}

func (f *faker) place(name string) string {
	switch name {
	case "#":
		return f.nonce
	case "account":
		return account
	case "region":
		return f.conf.region
	}
	if s := text(f.fields[name]); s != "" {
		return s
	}
	return f.text(name)
}
