# Alarms and a dashboard on what AWS measures, and on what the functions log. What brokers measure themselves is for
# Prometheus: infra/monitoring.

data "aws_region" "current" {}

locals {
  topics    = length(var.alarm_topic_arns) > 0 ? var.alarm_topic_arns : aws_sns_topic.this[*].arn
  namespace = "Forebay/${var.name}"
  cluster   = trimsuffix(var.tables["control"], "-control") # as functions call it in their metrics

  # Rounds come at least this often when all is well, with room for some that fail.
  rounds = { for name, window in {
    retention  = { minutes = 60 }
    compaction = { minutes = 120 }
    collector  = { minutes = 360 }
    sweep      = { minutes = 15 }
  } : name => window if contains(var.scheduled_functions, name) }

  operations = ["DeleteItem", "GetItem", "PutItem", "Query"]
}

resource "aws_sns_topic" "this" {
  count = length(var.alarm_topic_arns) > 0 ? 0 : 1

  name = "${var.name}-alarms"
  tags = var.tags
}

resource "aws_sns_topic_subscription" "email" {
  for_each = length(var.alarm_topic_arns) > 0 ? toset([]) : toset(var.emails)

  topic_arn = aws_sns_topic.this[0].arn
  protocol  = "email"
  endpoint  = each.value
}

# Functions: those that fail, and rounds that do not come.

resource "aws_cloudwatch_metric_alarm" "function_errors" {
  for_each = var.functions

  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "Function ${each.key} of Forebay ${var.name} fails again and again: its log says why."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = each.value }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 900
  evaluation_periods  = 4
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_log_metric_filter" "rounds" {
  for_each = local.rounds

  name           = "${var.name}-${each.key}-rounds"
  log_group_name = "/aws/lambda/${var.functions[each.key]}"
  pattern        = "{ $.msg = \"round done\" }"

  metric_transformation {
    namespace = local.namespace
    name      = "${each.key}-rounds"
    value     = "1"
    unit      = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "rounds" {
  for_each = local.rounds

  alarm_name          = "${var.name}-${each.key}-does-not-run"
  alarm_description   = "No round of ${each.key} of Forebay ${var.name} in ${each.value.minutes} minutes: is its schedule off, does it fail, or does it not end in time?"
  namespace           = local.namespace
  metric_name         = aws_cloudwatch_log_metric_filter.rounds[each.key].metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = each.value.minutes * 60
  evaluation_periods  = 1
  treat_missing_data  = "breaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  count = var.dead_letter_queue == null ? 0 : 1

  alarm_name          = "${var.name}-functions-failed"
  alarm_description   = "Requests to functions of Forebay ${var.name} have failed and are in queue ${var.dead_letter_queue}."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.dead_letter_queue }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "api_throttled" {
  for_each = { for name, f in var.functions : name => f if name == "api" }

  alarm_name          = "${var.name}-api-throttled"
  alarm_description   = "The admin API of Forebay ${var.name} refuses requests: more come at once than it has concurrency for."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = each.value }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  tags                = var.tags
}

# What functions measure themselves, in CloudWatch's embedded metric format.

resource "aws_cloudwatch_metric_alarm" "api_failed" {
  for_each = { for name, f in var.functions : name => f if name == "api" }

  alarm_name          = "${var.name}-api-failed"
  alarm_description   = "The admin API of Forebay ${var.name} fails requests through no fault of theirs: its log says why."
  namespace           = "Forebay"
  metric_name         = "RequestsFailed"
  dimensions          = { Cluster = local.cluster, Function = each.key }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 4
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "unreleased" {
  for_each = { for name in var.scheduled_functions : name => name if name == "sweep" }

  alarm_name          = "${var.name}-records-of-dead-brokers"
  alarm_description   = "Records of brokers of Forebay ${var.name} that are gone have not been sealed by others for two hours: they are in the WAL only. Is sealing paused, or does it fail?"
  namespace           = "Forebay"
  metric_name         = "StreamsUnreleased"
  dimensions          = { Cluster = local.cluster, Function = each.key }
  statistic           = "Minimum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 3600
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

# Tables: each request that is throttled or fails delays somebody's acknowledgement.

resource "aws_cloudwatch_metric_alarm" "table_throttled" {
  for_each = { for pair in setproduct(keys(var.tables), ["Read", "Write"]) : "${pair[0]}-${lower(pair[1])}" => { table = var.tables[pair[0]], metric = "${pair[1]}ThrottleEvents" } }

  alarm_name          = "${var.name}-${each.key}-throttled"
  alarm_description   = "Table ${each.value.table} of Forebay ${var.name} refuses requests: raise its capacity, or look for a hot partition."
  namespace           = "AWS/DynamoDB"
  metric_name         = each.value.metric
  dimensions          = { TableName = each.value.table }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "table_errors" {
  for_each = var.tables

  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "DynamoDB fails for table ${each.value} of Forebay ${var.name}."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags

  metric_query {
    id          = "all"
    label       = "Errors of DynamoDB"
    expression  = "SUM(METRICS())"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.operations

    content {
      id = lower(metric_query.value)

      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = "SystemErrors"
        dimensions  = { TableName = each.value, Operation = metric_query.value }
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

# The bucket. Requests are measured only where somebody has asked for it.

resource "aws_s3_bucket_metric" "requests" {
  bucket = var.bucket
  name   = "EntireBucket"
}

resource "aws_cloudwatch_metric_alarm" "bucket_errors" {
  alarm_name          = "${var.name}-bucket-errors"
  alarm_description   = "S3 fails for bucket ${var.bucket} of Forebay ${var.name}, or asks to slow down."
  namespace           = "AWS/S3"
  metric_name         = "5xxErrors"
  dimensions          = { BucketName = var.bucket, FilterId = aws_s3_bucket_metric.requests.name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 50
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

# Brokers.

resource "aws_cloudwatch_metric_alarm" "broker_down" {
  for_each = var.target_group_arn_suffixes

  alarm_name          = "${var.name}-broker-${each.key}-down"
  alarm_description   = "Broker ${each.key} of Forebay ${var.name} does not answer: the others have taken over its partitions."
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = var.balancer_arn_suffix, TargetGroup = each.value }
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "breaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "broker_busy" {
  for_each = merge(
    { for id, group in var.autoscaling_groups : id => { namespace = "AWS/EC2", dimensions = { AutoScalingGroupName = group } } },
    { for id, service in var.ecs_services : id => { namespace = "AWS/ECS", dimensions = { ClusterName = var.ecs_cluster, ServiceName = service } } },
  )

  alarm_name          = "${var.name}-broker-${each.key}-busy"
  alarm_description   = "Broker ${each.key} of Forebay ${var.name} has been busy for half an hour: add brokers, or give them more."
  namespace           = each.value.namespace
  metric_name         = "CPUUtilization"
  dimensions          = each.value.dimensions
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  period              = 300
  evaluation_periods  = 6
  treat_missing_data  = "missing"
  alarm_actions       = local.topics
  ok_actions          = local.topics
  tags                = var.tags
}
