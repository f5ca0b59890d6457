locals {
  kinds = setproduct(values(var.tables), ["Read", "Write"])

  # Title, statistic and metrics of each graph: namespace, name and dimensions of a metric, and its label.
  graphs = [
    {
      title   = "Brokers that answer"
      stat    = "Maximum"
      metrics = [for id, tg in var.target_group_arn_suffixes : ["AWS/NetworkELB", "HealthyHostCount", "TargetGroup", tg, "LoadBalancer", var.balancer_arn_suffix, { label = "broker ${id}" }]]
    },
    {
      title   = "Bytes through the load balancer"
      stat    = "Sum"
      metrics = [for lb in var.balancer_arn_suffix[*] : ["AWS/NetworkELB", "ProcessedBytes", "LoadBalancer", lb]]
    },
    {
      title = "Processors of brokers, percent"
      stat  = "Average"
      metrics = concat(
        [for id, g in var.autoscaling_groups : ["AWS/EC2", "CPUUtilization", "AutoScalingGroupName", g, { label = "broker ${id}" }]],
        [for id, s in var.ecs_services : ["AWS/ECS", "CPUUtilization", "ClusterName", var.ecs_cluster, "ServiceName", s, { label = "broker ${id}" }]],
      )
    },
    {
      title   = "Capacity used"
      stat    = "Sum"
      metrics = [for k in local.kinds : ["AWS/DynamoDB", "Consumed${k[1]}CapacityUnits", "TableName", k[0]]]
    },
    {
      title   = "Throttled requests of tables"
      stat    = "Sum"
      metrics = [for k in local.kinds : ["AWS/DynamoDB", "${k[1]}ThrottleEvents", "TableName", k[0]]]
    },
    {
      title   = "Requests to the bucket"
      stat    = "Sum"
      metrics = [for m in ["PutRequests", "GetRequests", "DeleteRequests", "4xxErrors", "5xxErrors"] : ["AWS/S3", m, "BucketName", var.bucket, "FilterId", "EntireBucket"]]
    },
    {
      title   = "Size of the bucket"
      stat    = "Average"
      period  = 86400
      metrics = [["AWS/S3", "BucketSizeBytes", "BucketName", var.bucket, "StorageType", "StandardStorage"]]
    },
    {
      title   = "Errors of functions"
      stat    = "Sum"
      metrics = [for name, f in var.functions : ["AWS/Lambda", "Errors", "FunctionName", f, { label = name }]]
    },
    {
      title   = "How long functions take"
      stat    = "Maximum"
      metrics = [for name, f in var.functions : ["AWS/Lambda", "Duration", "FunctionName", f, { label = name }]]
    },
    {
      title = "Brokers that sweep sees, and streams of dead ones"
      stat  = "Maximum"
      metrics = [
        for m in ["BrokersAlive", "StreamsUnreleased"] : ["Forebay", m, "Cluster", local.cluster, "Function", "sweep"] if contains(var.scheduled_functions, "sweep")
      ]
    },
    {
      title   = "Rounds"
      stat    = "Sum"
      period  = 3600
      metrics = [for name, window in local.rounds : [local.namespace, "${name}-rounds", { label = name }]]
    },
  ]

  shown = [for g in local.graphs : g if length(g.metrics) > 0]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for i, g in local.shown : {
        type   = "metric"
        x      = (i % 2) * 12
        y      = floor(i / 2) * 6
        width  = 12
        height = 6
        properties = {
          title   = g.title
          region  = data.aws_region.current.region
          view    = "timeSeries"
          stat    = g.stat
          period  = try(g.period, 60)
          metrics = g.metrics
        }
      }
    ]
  })
}
