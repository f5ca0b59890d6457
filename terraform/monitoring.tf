module "monitoring" {
  source = "./modules/monitoring"
  count  = var.monitoring ? 1 : 0

  name                      = var.name
  bucket                    = module.storage.bucket
  tables                    = module.tables.names
  functions                 = merge(module.functions[*].names...)
  scheduled_functions       = flatten(module.functions[*].schedules)
  dead_letter_queue         = one(module.functions[*].dead_letter_queue)
  balancer_arn_suffix       = one(module.network[*].balancer_arn_suffix)
  target_group_arn_suffixes = merge(module.network[*].target_group_arn_suffixes...)
  autoscaling_groups        = merge(module.brokers_ec2[*].groups...)
  ecs_cluster               = one(module.brokers_ecs[*].cluster)
  ecs_services              = merge(module.brokers_ecs[*].services...)
  alarm_topic_arns          = var.alarm_topic_arns
  emails                    = var.alarm_emails
  tags                      = local.tags
}
