# The functions of a cluster: the admin API (api.tf has where it is called), and what is done for the life of data on schedules.
# Each has a role of its own with the rights of its job. A round that is missed or fails is made up for by the next
# one, so nothing is tried again; what failed is told by an alarm and the dead-letter queue.

locals {
  # What an invocation does, docs/operations.md has; memory is also a function's share of a processor.
  defaults = {
    api        = { memory_mb = 512, timeout_seconds = 30, concurrency = 10, schedule = null }
    retention  = { memory_mb = 512, timeout_seconds = 240, concurrency = 1, schedule = "rate(5 minutes)" }
    compaction = { memory_mb = 2048, timeout_seconds = 900, concurrency = 1, schedule = "rate(5 minutes)" }
    collector  = { memory_mb = 1024, timeout_seconds = 900, concurrency = 1, schedule = "rate(1 hour)" }
    sweep      = { memory_mb = 256, timeout_seconds = 55, concurrency = 1, schedule = "rate(1 minute)" }
  }

  functions = {
    for name in var.functions : name => {
      for setting, value in local.defaults[name] : setting => try(coalesce(var.overrides[name][setting]), value)
    }
  }
  scheduled = { for name, f in local.functions : name => f if f.schedule != null }

  environment = { for name, value in {
    FOREBAY_OBJECT_STORE  = var.object_store
    FOREBAY_WAL_STORE     = var.wal_store
    FOREBAY_METADATA      = var.metadata
    FOREBAY_COLLECT_GRACE = var.collect_grace
    FOREBAY_SESSION_TTL   = var.session_ttl
  } : name => value if value != null }

  own_environment = {
    api = { for name, value in {
      FOREBAY_ADMIN_READERS              = join(",", var.admin_readers)
      FOREBAY_ADMIN_WRITERS              = join(",", var.admin_writers)
      FOREBAY_NUM_PARTITIONS             = try(tostring(var.new_topics.partitions), "")
      FOREBAY_DEFAULT_REPLICATION_FACTOR = try(tostring(var.new_topics.replication_factor), "")
    } : name => value if value != null && value != "" }
  }

  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Lambda"
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role" "this" {
  for_each = local.functions

  name                 = "${var.name}-${each.key}"
  description          = "Forebay ${var.name}: function ${each.key}"
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "job" {
  for_each = local.functions

  name   = "job"
  role   = aws_iam_role.this[each.key].id
  policy = var.policies[each.key]
}

resource "aws_iam_role_policy" "run" {
  for_each = local.functions

  name = "run"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this[each.key].arn}:*"]
      },
      {
        Sid      = "DeadLetters"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.dead_letters.arn]
      },
    ]
  })
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.functions

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
  tags              = var.tags
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-functions-failed"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_lambda_function" "this" {
  for_each = local.functions

  function_name                  = "${var.name}-${each.key}"
  description                    = "Forebay ${var.name}: ${each.key}"
  filename                       = "${var.package_dir}/${each.key}-${var.architecture}.zip"
  source_code_hash               = filebase64sha256("${var.package_dir}/${each.key}-${var.architecture}.zip")
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture == "amd64" ? "x86_64" : "arm64"]
  role                           = aws_iam_role.this[each.key].arn
  memory_size                    = each.value.memory_mb
  timeout                        = each.value.timeout_seconds
  reserved_concurrent_executions = var.reserve_concurrency ? each.value.concurrency : -1
  tags                           = var.tags

  environment {
    variables = merge(local.environment, lookup(local.own_environment, each.key, {}))
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.this[each.key].name
  }

  depends_on = [aws_iam_role_policy.job, aws_iam_role_policy.run]
}

resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = local.functions

  function_name                = aws_lambda_function.this[each.key].function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 300 # an older one: the next round is due
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.scheduled

  name                = "${var.name}-${each.key}"
  description         = "Forebay ${var.name}: when ${each.key} runs"
  schedule_expression = each.value.schedule
  state               = "ENABLED"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.scheduled

  rule = aws_cloudwatch_event_rule.this[each.key].name
  arn  = aws_lambda_function.this[each.key].arn

  # The functions take the partition to begin at, or nothing: not the event of the schedule.
  input = "{}"
}

resource "aws_lambda_permission" "schedule" {
  for_each = local.scheduled

  statement_id  = "schedule"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this[each.key].function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.this[each.key].arn
}
