package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// rule is what AWS asks of an argument beyond its type.
type rule func(v tftypes.Value) error

// rules are some of those that the provider of AWS checks when it plans, of the resources that are used here.
// A dot leads into a block.
var rules = map[string]map[string]rule{
	"aws_apigatewayv2_api":         {"protocol_type": oneOf("HTTP", "WEBSOCKET")},
	"aws_apigatewayv2_integration": {"integration_type": oneOf("AWS", "AWS_PROXY", "HTTP", "HTTP_PROXY", "MOCK"), "payload_format_version": oneOf("1.0", "2.0"), "timeout_milliseconds": between(50, 30000)},
	"aws_apigatewayv2_route":       {"authorization_type": oneOf("NONE", "AWS_IAM", "CUSTOM", "JWT")},
	"aws_cloudwatch_dashboard":     {"dashboard_body": isJSON},
	"aws_cloudwatch_log_group":     {"retention_in_days": oneOf("1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731", "1096", "1827", "2192", "2557", "2922", "3288", "3653", "0")},
	"aws_cloudwatch_metric_alarm":  {"comparison_operator": oneOf("GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"), "treat_missing_data": oneOf("missing", "ignore", "breaching", "notBreaching"), "statistic": oneOf("SampleCount", "Average", "Sum", "Minimum", "Maximum"), "alarm_name": matches(`^.{1,255}$`)},
	"aws_dynamodb_table":           {"billing_mode": oneOf("PROVISIONED", "PAY_PER_REQUEST"), "attribute.type": oneOf("S", "N", "B"), "name": matches(`^[\w.-]{3,255}$`)},
	"aws_ecs_service":              {"launch_type": oneOf("EC2", "FARGATE", "EXTERNAL")},
	"aws_ecs_task_definition":      {"container_definitions": isJSON, "network_mode": oneOf("bridge", "host", "awsvpc", "none")},
	"aws_iam_role":                 {"assume_role_policy": isPolicy, "name": matches(`^[\w+=,.@-]{1,64}$`)},
	"aws_iam_role_policy":          {"policy": isPolicy},
	"aws_kms_key":                  {"policy": isPolicy},
	"aws_lambda_function":          {"timeout": between(1, 900), "memory_size": between(128, 32768), "architectures": oneOf("x86_64", "arm64"), "function_name": matches(`^[\w:-]{1,140}$`), "runtime": oneOf("provided.al2023")},
	"aws_lambda_function_url":      {"authorization_type": oneOf("AWS_IAM", "NONE")},
	"aws_launch_template":          {"user_data": matches(`^[A-Za-z0-9+/=]*$`), "metadata_options.http_tokens": oneOf("optional", "required")},
	"aws_lb":                       {"name": matches(`^[A-Za-z0-9-]{1,32}$`), "load_balancer_type": oneOf("application", "network", "gateway")},
	"aws_lb_listener":              {"port": between(1, 65535), "protocol": oneOf("TCP", "TLS", "UDP", "TCP_UDP", "HTTP", "HTTPS", "GENEVE")},
	"aws_lb_target_group":          {"name": matches(`^[A-Za-z0-9-]{1,32}$`), "port": between(1, 65535), "protocol": oneOf("TCP", "TLS", "UDP", "TCP_UDP", "HTTP", "HTTPS"), "target_type": oneOf("instance", "ip", "lambda", "alb")},
	"aws_s3_bucket":                {"bucket": matches(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)},
	"aws_s3_bucket_policy":         {"policy": isPolicy},
	"aws_s3_bucket_versioning":     {"versioning_configuration.status": oneOf("Enabled", "Suspended", "Disabled")},
	"aws_s3_bucket_lifecycle_configuration": {
		"rule.status": oneOf("Enabled", "Disabled"),
	},
	"aws_s3_bucket_server_side_encryption_configuration": {
		"rule.apply_server_side_encryption_by_default.sse_algorithm": oneOf("AES256", "aws:kms", "aws:kms:dsse"),
	},
	"aws_s3_directory_bucket": {"bucket": matches(`^[a-z0-9-]+--[a-z0-9-]+--x-s3$`), "location.name": matches(`-az\d`)},
	"aws_sqs_queue":           {"redrive_policy": isJSON},
	"aws_vpc_endpoint":        {"policy": isPolicy, "vpc_endpoint_type": oneOf("Gateway", "Interface", "GatewayLoadBalancer")},
}

// check tells which rules are broken. What is not known yet breaks none.
func check(kind string, v tftypes.Value) []*tfprotov5.Diagnostic {
	var diags []*tfprotov5.Diagnostic
	for path, r := range rules[kind] {
		for _, v := range at(v, strings.Split(path, ".")) {
			if err := r(v); err != nil {
				diags = append(diags, failed(fmt.Errorf("%s: %s: %w", kind, path, err))...)
			}
		}
	}
	return diags
}

// at is what is at a path: the elements of each collection on the way, and at its end.
func at(v tftypes.Value, path []string) []tftypes.Value {
	if v.Type() == nil || v.IsNull() || !v.IsKnown() {
		return nil
	}
	if elems := list(v); elems != nil {
		var out []tftypes.Value
		for _, e := range elems {
			out = append(out, at(e, path)...)
		}
		return out
	}
	if len(path) == 0 {
		return []tftypes.Value{v}
	}
	field, ok := object(v)[path[0]]
	if !ok {
		return nil
	}
	return at(field, path[1:])
}

// written is a string or a number, as it would be written.
func written(v tftypes.Value) string {
	var n big.Float
	if v.Type().Is(tftypes.Number) && v.As(&n) == nil {
		return n.Text('f', -1)
	}
	return text(v)
}

func oneOf(values ...string) rule {
	return func(v tftypes.Value) error {
		if got := written(v); !slices.Contains(values, got) {
			return fmt.Errorf("%q is none of %s", got, strings.Join(values, ", "))
		}
		return nil
	}
}

func matches(pattern string) rule {
	re := regexp.MustCompile(pattern)
	return func(v tftypes.Value) error {
		if s := text(v); !re.MatchString(s) {
			return fmt.Errorf("%q does not match %s", s, pattern)
		}
		return nil
	}
}

func between(low, high int64) rule {
	return func(v tftypes.Value) error {
		var n big.Float
		if err := v.As(&n); err != nil {
			return err
		}
		if n.Cmp(big.NewFloat(float64(low))) < 0 || n.Cmp(big.NewFloat(float64(high))) > 0 {
			return fmt.Errorf("%s is not between %d and %d", written(v), low, high)
		}
		return nil
	}
}

func isJSON(v tftypes.Value) error {
	if s := text(v); !json.Valid([]byte(s)) {
		return fmt.Errorf("not JSON: %.80s", s)
	}
	return nil
}

// Elements of a policy, each of which is one or a list.
type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

type policy struct {
	Version   string
	Statement []struct {
		Sid, Effect                              string
		Action, NotAction, Resource, NotResource oneOrMany
		Principal, NotPrincipal, Condition       any
	}
}

var (
	reAction = regexp.MustCompile(`^(\*|[a-z0-9-]+:[A-Za-z*]+)$`)
	reSid    = regexp.MustCompile(`^[A-Za-z0-9]*$`)
)

// isPolicy: a document that IAM would parse, with statements that say what and, but for trust policies, on what.
func isPolicy(v tftypes.Value) error {
	var p policy
	if err := json.Unmarshal([]byte(text(v)), &p); err != nil {
		return fmt.Errorf("not a policy: %w", err)
	}
	if p.Version != "2012-10-17" || len(p.Statement) == 0 {
		return errors.New("a policy has Version 2012-10-17 and at least one Statement")
	}
	for _, s := range p.Statement {
		switch actions := slices.Concat(s.Action, s.NotAction); {
		case s.Effect != "Allow" && s.Effect != "Deny":
			return fmt.Errorf("statement %q: effect %q", s.Sid, s.Effect)
		case !reSid.MatchString(s.Sid):
			return fmt.Errorf("statement %q: a Sid is made of letters and digits", s.Sid)
		case len(actions) == 0:
			return fmt.Errorf("statement %q has no action", s.Sid)
		case s.Principal == nil && s.NotPrincipal == nil && len(s.Resource)+len(s.NotResource) == 0:
			return fmt.Errorf("statement %q has neither principal nor resource", s.Sid)
		case slices.ContainsFunc(actions, func(a string) bool { return !reAction.MatchString(a) }):
			return fmt.Errorf("statement %q: no action of IAM in %q", s.Sid, actions)
		case slices.ContainsFunc(s.Resource, func(r string) bool { return r != "*" && !strings.HasPrefix(r, "arn:") }):
			return fmt.Errorf("statement %q: no ARN in %q", s.Sid, s.Resource)
		}
	}
	return nil
}
