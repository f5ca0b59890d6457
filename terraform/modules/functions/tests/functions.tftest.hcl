provider "aws" {
  region = "eu-central-1"
}

variables {
  name         = "events"
  package_dir  = "../../../bin/functions"
  object_store = "s3://log/prod?region=eu-central-1"
  metadata     = "dynamodb://events?region=eu-central-1"
  policies = { for job in ["api", "retention", "compaction", "collector", "sweep"] :
    job => "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"${job}\",\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\"],\"Resource\":[\"arn:aws:s3:::log/*\"]}]}"
  }
}

run "all" {
  assert {
    condition     = toset(keys(output.names)) == toset(["api", "retention", "compaction", "collector", "sweep"])
    error_message = "All functions, unless told otherwise."
  }
  assert {
    condition     = alltrue([for name, f in aws_lambda_function.this : f.role == aws_iam_role.this[name].arn && aws_iam_role_policy.job[name].policy == var.policies[name]])
    error_message = "A function has the rights of another."
  }
  assert {
    condition     = alltrue([for f in aws_lambda_function.this : f.runtime == "provided.al2023" && f.handler == "bootstrap" && f.architectures == tolist(["arm64"])])
    error_message = "`make functions` builds for this runtime."
  }
  assert {
    condition = alltrue([for f in aws_lambda_function.this :
    f.environment[0].variables["FOREBAY_OBJECT_STORE"] == var.object_store && f.environment[0].variables["FOREBAY_METADATA"] == var.metadata])
    error_message = "A function is not told where the stores are."
  }
  assert {
    condition     = alltrue([for f in aws_lambda_function.this : !contains(keys(f.environment[0].variables), "FOREBAY_WAL_STORE")])
    error_message = "A WAL store that is not there must not be named."
  }
  assert {
    condition     = toset(output.schedules) == toset(["retention", "compaction", "collector", "sweep"])
    error_message = "The API runs when it is called, all others on schedules."
  }
  assert {
    condition     = alltrue([for name, t in aws_cloudwatch_event_target.this : t.arn == aws_lambda_function.this[name].arn && t.input == "{}"])
    error_message = "A schedule invokes another function, or with the event of the schedule."
  }
  assert {
    condition     = alltrue([for name in output.schedules : aws_lambda_function.this[name].reserved_concurrent_executions == 1])
    error_message = "Rounds run one after the other."
  }
  assert {
    condition     = alltrue([for c in aws_lambda_function_event_invoke_config.this : c.maximum_retry_attempts == 0])
    error_message = "The next round is the retry."
  }
  assert {
    condition     = aws_lambda_function_url.api[0].authorization_type == "AWS_IAM" && length(aws_apigatewayv2_api.api) == 0
    error_message = "The API has one entrance, which must not be open."
  }
  assert {
    condition     = "${output.api_url}/" == aws_lambda_function_url.api[0].function_url
    error_message = "Paths begin with a slash of their own."
  }
  assert {
    condition = { for s in jsondecode(output.api_caller_policy).Statement : one(s.Action) => s.Resource } == {
    "lambda:InvokeFunctionUrl" = [output.api_arn], "lambda:InvokeFunction" = [output.api_arn] }
    error_message = "Callers of a function URL need two rights."
  }
  assert {
    condition     = alltrue([for name, f in aws_lambda_function.this : f.logging_config[0].log_group == "/aws/lambda/events-${name}"])
    error_message = "Logs go to a group that ends them."
  }
}

run "brokers_do_maintenance" {
  variables {
    functions     = ["api"]
    architecture  = "amd64"
    wal_store     = "s3://fast--euc1-az1--x-s3"
    admin_writers = ["arn:aws:iam::123456789012:role/operator", "arn:aws:sts::123456789012:assumed-role/ops/*"]
    overrides     = { api = { memory_mb = 1024 } }
    new_topics    = { partitions = 6 }
    session_ttl   = "5s"
  }

  assert {
    condition     = keys(output.names) == ["api"] && length(aws_cloudwatch_event_rule.this) == 0
    error_message = "Only the API."
  }
  assert {
    condition     = aws_lambda_function.this["api"].memory_size == 1024 && aws_lambda_function.this["api"].timeout == 30
    error_message = "An override changes what it names and nothing else."
  }
  assert {
    condition     = aws_lambda_function.this["api"].architectures == tolist(["x86_64"]) && endswith(aws_lambda_function.this["api"].filename, "/api-amd64.zip")
    error_message = "The zip is of another architecture."
  }
  assert {
    condition     = aws_lambda_function.this["api"].environment[0].variables["FOREBAY_ADMIN_WRITERS"] == "arn:aws:iam::123456789012:role/operator,arn:aws:sts::123456789012:assumed-role/ops/*"
    error_message = "Writers are separated by commas."
  }
  assert {
    condition = { for k, v in aws_lambda_function.this["api"].environment[0].variables : k => v if contains(["FOREBAY_NUM_PARTITIONS", "FOREBAY_DEFAULT_REPLICATION_FACTOR", "FOREBAY_SESSION_TTL", "FOREBAY_ADMIN_READERS"], k) } == {
    FOREBAY_NUM_PARTITIONS = "6", FOREBAY_SESSION_TTL = "5s" }
    error_message = "What is set is told, and nothing else is."
  }
  assert {
    condition     = aws_lambda_function.this["api"].environment[0].variables["FOREBAY_WAL_STORE"] == "s3://fast--euc1-az1--x-s3"
    error_message = "The WAL store is not named."
  }
}

run "http_api" {
  variables {
    api_endpoint = "http_api"
    api_throttle = { rate = 5 }
    overrides    = { api = { timeout_seconds = 60 } }
  }

  assert {
    condition     = length(aws_lambda_function_url.api) == 0 && aws_apigatewayv2_route.api[0].authorization_type == "AWS_IAM" && aws_apigatewayv2_route.api[0].route_key == "$default"
    error_message = "The API has one entrance, which must not be open."
  }
  assert {
    condition     = aws_apigatewayv2_route.api[0].target == "integrations/${aws_apigatewayv2_integration.api[0].id}" && aws_apigatewayv2_integration.api[0].integration_uri == aws_lambda_function.this["api"].invoke_arn
    error_message = "Requests do not get to the function."
  }
  assert {
    condition     = aws_apigatewayv2_integration.api[0].payload_format_version == "2.0" && aws_apigatewayv2_integration.api[0].timeout_milliseconds == 30000
    error_message = "Not the events that the function takes, or a time that HTTP APIs do not have."
  }
  assert {
    condition     = aws_apigatewayv2_stage.api[0].name == "$default" && aws_apigatewayv2_stage.api[0].auto_deploy && aws_apigatewayv2_stage.api[0].access_log_settings[0].destination_arn == aws_cloudwatch_log_group.access[0].arn
    error_message = "Another stage has its name in the paths, and what nobody deploys or logs is not there."
  }
  assert {
    condition     = aws_apigatewayv2_stage.api[0].default_route_settings[0].throttling_rate_limit == 5 && aws_apigatewayv2_stage.api[0].default_route_settings[0].throttling_burst_limit == 40
    error_message = "The API does not throttle."
  }
  assert {
    condition     = aws_lambda_permission.http_api[0].source_arn == "${aws_apigatewayv2_api.api[0].execution_arn}/*/$default"
    error_message = "The HTTP API may not invoke the function, or any may."
  }
  assert {
    condition     = jsondecode(output.api_caller_policy).Statement == [{ Sid = "HttpApi", Effect = "Allow", Action = ["execute-api:Invoke"], Resource = ["${aws_apigatewayv2_api.api[0].execution_arn}/*"] }]
    error_message = "Callers need the right to invoke the API, and none on the function."
  }
  assert {
    condition     = startswith(output.api_url, "https://") && !endswith(output.api_url, "/")
    error_message = "Paths begin with a slash of their own."
  }
}

run "no_api" {
  variables {
    functions    = ["retention"]
    api_endpoint = "http_api"
  }

  assert {
    condition     = output.api_url == null && output.api_caller_policy == null && length(aws_apigatewayv2_api.api) == 0
    error_message = "There is nothing to call."
  }
}

run "refuses_what_is_not_there" {
  command = plan

  variables {
    functions    = ["cook"]
    object_store = "log"
    overrides    = { retention = { schedule = "hourly" } }
    api_endpoint = "rest_api"
    api_throttle = { rate = 0 }
  }

  expect_failures = [var.functions, var.object_store, var.overrides, var.api_endpoint, var.api_throttle]
}
