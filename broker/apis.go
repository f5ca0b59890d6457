package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// apis is every API that the broker serves, in order of key. The version ranges
// are those of Kafka 4.2; the file of each API says where it deviates.
func apis() []api {
	return []api{
		{key: kmsg.Produce, min: 3, max: 13, fromZero: true, handle: handleProduce},
		{key: kmsg.Fetch, min: 4, max: 18, handle: handleFetch},
		{key: kmsg.ListOffsets, min: 1, max: 11, handle: synchronous(handleListOffsets)},
		{key: kmsg.Metadata, min: 0, max: 13, handle: synchronous(handleMetadata)},
		{key: kmsg.OffsetCommit, min: 2, max: 10, handle: handleOffsetCommit},
		{key: kmsg.OffsetFetch, min: 1, max: 10, handle: synchronous(handleOffsetFetch)},
		{key: kmsg.FindCoordinator, min: 0, max: 6, handle: synchronous(handleFindCoordinator)},
		{key: kmsg.JoinGroup, min: 0, max: 9, handle: handleJoinGroup},
		{key: kmsg.Heartbeat, min: 0, max: 4, handle: handleHeartbeat},
		{key: kmsg.LeaveGroup, min: 0, max: 5, handle: handleLeaveGroup},
		{key: kmsg.SyncGroup, min: 0, max: 5, handle: handleSyncGroup},
		{key: kmsg.DescribeGroups, min: 0, max: 6, handle: synchronous(handleDescribeGroups)},
		{key: kmsg.ListGroups, min: 0, max: 5, handle: synchronous(handleListGroups)},
		{key: kmsg.ApiVersions, min: 0, max: 4, handle: synchronous(handleAPIVersions)},
		{key: kmsg.CreateTopics, min: 2, max: 7, handle: synchronous(handleCreateTopics)},
		{key: kmsg.DeleteTopics, min: 1, max: 6, handle: synchronous(handleDeleteTopics)},
		{key: kmsg.DeleteRecords, min: 0, max: 2, handle: synchronous(handleDeleteRecords)},
		{key: kmsg.InitProducerID, min: 0, max: 5, handle: handleInitProducerID},
		{key: kmsg.OffsetForLeaderEpoch, min: 2, max: 4, handle: synchronous(handleOffsetForLeaderEpoch)},
		{key: kmsg.AddPartitionsToTxn, min: 0, max: 5, handle: handleAddPartitionsToTxn},
		{key: kmsg.AddOffsetsToTxn, min: 0, max: 4, handle: handleAddOffsetsToTxn},
		{key: kmsg.EndTxn, min: 0, max: 5, handle: handleEndTxn},
		{key: kmsg.WriteTxnMarkers, min: 1, max: 2, handle: handleWriteTxnMarkers},
		{key: kmsg.DescribeACLs, min: 1, max: 3, handle: synchronous(handleDescribeACLs)},
		{key: kmsg.CreateACLs, min: 1, max: 3, handle: synchronous(handleCreateACLs)},
		{key: kmsg.DeleteACLs, min: 1, max: 3, handle: synchronous(handleDeleteACLs)},
		{key: kmsg.DescribeConfigs, min: 1, max: 4, handle: synchronous(handleDescribeConfigs)},
		{key: kmsg.AlterConfigs, min: 0, max: 2, handle: synchronous(handleAlterConfigs)},
		{key: kmsg.DescribeLogDirs, min: 1, max: 4, handle: synchronous(handleDescribeLogDirs)},
		{key: kmsg.CreatePartitions, min: 0, max: 3, handle: synchronous(handleCreatePartitions)},
		{key: kmsg.DeleteGroups, min: 0, max: 2, handle: handleDeleteGroups},
		{key: kmsg.ElectLeaders, min: 0, max: 2, handle: handleElectLeaders},
		{key: kmsg.IncrementalAlterConfigs, min: 0, max: 1, handle: synchronous(handleIncrementalAlterConfigs)},
		{key: kmsg.AlterPartitionAssignments, min: 0, max: 1, handle: synchronous(handleAlterPartitionReassignments)},
		{key: kmsg.ListPartitionReassignments, min: 0, max: 0, handle: synchronous(handleListPartitionReassignments)},
		{key: kmsg.OffsetDelete, min: 0, max: 0, handle: handleOffsetDelete},
		{key: kmsg.DescribeClientQuotas, min: 0, max: 1, handle: synchronous(handleDescribeClientQuotas)},
		{key: kmsg.DescribeUserSCRAMCredentials, min: 0, max: 0, handle: synchronous(handleDescribeUserSCRAMCredentials)},
		{key: kmsg.DescribeCluster, min: 0, max: 2, handle: synchronous(handleDescribeCluster)},
		{key: kmsg.DescribeProducers, min: 0, max: 0, handle: synchronous(handleDescribeProducers)},
		{key: kmsg.UnregisterBroker, min: 0, max: 0, handle: synchronous(handleUnregisterBroker)},
		{key: kmsg.ListConfigResources, min: 0, max: 1, handle: synchronous(handleListConfigResources)},
		{key: kmsg.DescribeTopicPartitions, min: 0, max: 0, handle: synchronous(handleDescribeTopicPartitions)},
	}
}
