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
    condition     = aws_lambda_function_url.api[0].authorization_type == "AWS_IAM"
    error_message = "The API must not be open."
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

run "refuses_what_is_not_there" {
  command = plan

  variables {
    functions    = ["cook"]
    object_store = "log"
    overrides    = { retention = { schedule = "hourly" } }
  }

  expect_failures = [var.functions, var.object_store, var.overrides]
}
